//! Bytes as events: the decoders on 64 MiB in memory.

use std::{
    convert::Infallible,
    hint::black_box,
    time::{Duration, Instant},
};

use agent_runner::providers::bench_support;
use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use memchr::memchr;
use sse_stream::SseByteStream;

const BYTES: usize = 64 * 1024 * 1024;
const PIECE: usize = 16 * 1024;
/// The best of so many counts: others use the machine, too.
const ROUNDS: usize = 7;

/// What models stream most: short words, sometimes with an escape, sometimes not ASCII.
const WORDS: [&str; 10] =
    [" the", " of", ",", " model", "\\n\\n", " answers", " said \\\"", " być", " token", "."];

/// Texts joined, and where each ends.
struct Input {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Input {
    fn new(mut one: impl FnMut(&str) -> String) -> Self {
        let mut text = String::with_capacity(BYTES + 1024);
        let mut ends = Vec::new();
        while text.len() < BYTES {
            text.push_str(&one(WORDS[ends.len() % WORDS.len()]));
            ends.push(text.len());
        }
        Self { bytes: text.into(), ends }
    }

    /// A reply of chat completions. The end that a real one has would end the decoding.
    fn chat() -> Self {
        Self::new(|word| {
            format!(
                "data: {{\"id\":\"chatcmpl-CZq8s1v0Kd3mXwTn\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1765432100,\"model\":\"gpt-4.1-mini\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n"
            )
        })
    }

    /// A reply of Ollama.
    fn lines() -> Self {
        Self::new(|word| {
            format!(
                "{{\"model\":\"qwen3:4b\",\"created_at\":\"2026-01-01T12:00:00.123456Z\",\
                 \"message\":{{\"role\":\"assistant\",\"content\":\"{word}\"}},\"done\":false}}\n"
            )
        })
    }

    fn each(&self) -> Vec<Bytes> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.slice(start..*end)).collect()
    }

    fn pieces(&self) -> Vec<Bytes> {
        (0..self.bytes.len())
            .step_by(PIECE)
            .map(|start| self.bytes.slice(start..(start + PIECE).min(self.bytes.len())))
            .collect()
    }
}

type Contender<'a> = (&'static str, Box<dyn FnMut() -> usize + 'a>);

/// Runs the contenders in turn and prints each one's best beside the first's.
fn compare(title: &str, bytes: usize, mut contenders: Vec<Contender<'_>>) {
    // A word on the command line chooses the comparisons, for profilers.
    let chosen = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    if chosen.is_some_and(|word| !title.contains(&word)) {
        return;
    }
    let mut best = vec![Duration::MAX; contenders.len()];
    let mut counts = vec![0; contenders.len()];
    for _ in 0..ROUNDS {
        for (at, (_, run)) in contenders.iter_mut().enumerate() {
            let began = Instant::now();
            counts[at] = black_box(run());
            best[at] = best[at].min(began.elapsed());
        }
    }
    println!("{title}");
    for (at, (name, _)) in contenders.iter().enumerate() {
        println!(
            "  {name:<44} {:>7.0} MB/s {:>7.1} ns each   {:>5.2} x the floor's speed",
            bytes as f64 / best[at].as_secs_f64() / 1e6,
            best[at].as_nanos() as f64 / counts[at] as f64,
            best[0].as_secs_f64() / best[at].as_secs_f64(),
        );
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "not the same work: {counts:?}");
}

fn slices(pieces: &[Bytes]) -> impl Iterator<Item = &[u8]> {
    pieces.iter().map(Bytes::as_ref)
}

/// What no decoder can do without: to find where events end. Knows one line end, no field and no
/// cut, and looks at no text.
fn events(pieces: &[Bytes]) -> usize {
    let mut count = 0;
    let mut blank = false;
    for piece in slices(pieces) {
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            if end == 0 && blank {
                count += 1;
            }
            black_box(&rest[..end]);
            rest = &rest[end + 1..];
            blank = true;
            if rest.first() == Some(&b'\n') {
                count += 1;
                blank = false;
                rest = &rest[1..];
            }
        }
        blank &= rest.is_empty();
    }
    count
}

fn lines(pieces: &[Bytes]) -> usize {
    let mut count = 0;
    for mut rest in slices(pieces) {
        while let Some(end) = memchr(b'\n', rest) {
            black_box(&rest[..end]);
            rest = &rest[end + 1..];
            count += 1;
        }
    }
    count
}

fn stream_of(pieces: &[Bytes]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + '_ {
    stream::iter(pieces.iter().cloned().map(Ok))
}

fn count<T>(stream: impl Stream<Item = T>) -> usize {
    let counted = stream.fold(0, |count, item| {
        black_box(item);
        std::future::ready(count + 1)
    });
    counted.now_or_never().unwrap()
}

fn sse(title: &str, pieces: &[Bytes]) {
    let ours = || {
        let mut count = 0;
        bench_support::sse(slices(pieces), |name, data| {
            black_box((name, data));
            count += 1;
        });
        count
    };
    compare(
        title,
        BYTES,
        vec![
            ("floor: memchr at the ends of events", Box::new(|| events(pieces))),
            ("agent-runner", Box::new(ours)),
            ("sse-stream 0.3", Box::new(|| count(SseByteStream::new(stream_of(pieces))))),
            ("eventsource-stream 0.2", Box::new(|| count(stream_of(pieces).eventsource()))),
        ],
    );
}

pub(crate) fn run() {
    let chat = Input::chat();
    println!(
        "{} MiB of {} events, {} bytes each",
        BYTES >> 20,
        chat.ends.len(),
        BYTES / chat.ends.len()
    );
    let (pieces, each) = (chat.pieces(), chat.each());
    sse("server-sent events, pieces of 16 KiB", &pieces);
    sse("server-sent events, one in each piece", &each);

    let texts: Vec<&str> = each
        .iter()
        .map(|event| std::str::from_utf8(&event["data: ".len()..event.len() - 2]).unwrap())
        .collect();
    // The first event of a reply says that it began.
    let deltas = |pieces: &[Bytes]| bench_support::openai_events(slices(pieces)) - 1;
    compare(
        "chat completions as typed deltas",
        BYTES,
        vec![
            (
                "floor: serde_json into the same struct",
                Box::new(|| {
                    texts.iter().filter(|text| bench_support::is_openai_chunk(text)).count()
                }),
            ),
            ("agent-runner, from pieces of 16 KiB", Box::new(|| deltas(&pieces))),
            ("agent-runner, from one event in each piece", Box::new(|| deltas(&each))),
        ],
    );

    let ollama = Input::lines();
    let pieces = ollama.pieces();
    let ours = || {
        let mut count = 0;
        bench_support::lines(slices(&pieces), |line| {
            black_box(line);
            count += 1;
        });
        count
    };
    compare(
        "lines of JSON, pieces of 16 KiB",
        BYTES,
        vec![
            ("floor: memchr at the ends of lines", Box::new(|| lines(&pieces))),
            ("agent-runner", Box::new(ours)),
        ],
    );
}
