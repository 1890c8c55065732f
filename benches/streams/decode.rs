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

/// In all, in segments, so that neither a cache nor somebody else's program decides.
const BYTES: usize = 64 * SEGMENT;
const SEGMENT: usize = 1024 * 1024;
const PIECE: usize = 16 * 1024;
/// Of each segment the best of so many counts.
const ROUNDS: usize = 9;

/// What models stream most: short words, sometimes with an escape, sometimes not ASCII.
const WORDS: [&str; 10] =
    [" the", " of", ",", " model", "\\n\\n", " answers", " said \\\"", " być", " token", "."];

/// Part of the input: whole events, cut in two ways.
struct Segment {
    /// In pieces of [`PIECE`], as a busy connection gives them.
    pieces: Vec<Bytes>,
    /// With one event in each piece, as a model that thinks gives them.
    each: Vec<Bytes>,
    /// The events' data.
    data: Vec<String>,
}

impl Segment {
    fn new(one: fn(&str) -> String) -> Self {
        let mut text = String::with_capacity(SEGMENT + 1024);
        let mut ends = vec![0];
        while text.len() < SEGMENT {
            text.push_str(&one(WORDS[ends.len() % WORDS.len()]));
            ends.push(text.len());
        }
        let bytes = Bytes::from(text);
        let pieces = (0..bytes.len()).step_by(PIECE);
        let each: Vec<_> = ends.windows(2).map(|ends| bytes.slice(ends[0]..ends[1])).collect();
        let text = |event: &Bytes| String::from_utf8(event.to_vec()).unwrap();
        let data = each.iter().map(|event| text(event).replace("data: ", "").replace('\n', ""));
        Self {
            data: data.collect(),
            pieces: pieces.map(|at| bytes.slice(at..(at + PIECE).min(bytes.len()))).collect(),
            each,
        }
    }

    fn many(one: fn(&str) -> String) -> Vec<Self> {
        (0..BYTES / SEGMENT).map(|_| Self::new(one)).collect()
    }

    fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    fn each(&self) -> &[Bytes] {
        &self.each
    }
}

/// An event of chat completions.
fn chat(word: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-CZq8s1v0Kd3mXwTn\",\"object\":\"chat.completion.chunk\",\
         \"created\":1765432100,\"model\":\"gpt-4.1-mini\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// A line of Ollama.
fn line(word: &str) -> String {
    format!(
        "{{\"model\":\"qwen3:4b\",\"created_at\":\"2026-01-01T12:00:00.123456Z\",\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{word}\"}},\"done\":false}}\n"
    )
}

/// A name and how to count the events of a segment.
type Contender<'a> = (&'a str, &'a dyn Fn(&Segment) -> usize);

/// Lets the contenders count in turn and prints each one's speed beside the first's.
fn compare(title: &str, segments: &[Segment], contenders: &[Contender<'_>]) {
    // A word on the command line chooses the comparisons, for profilers.
    let chosen = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    if chosen.is_some_and(|word| !title.contains(&word)) {
        return;
    }
    let mut best = vec![vec![Duration::MAX; segments.len()]; contenders.len()];
    for _ in 0..ROUNDS {
        for ((name, count), best) in contenders.iter().zip(&mut best) {
            for (segment, best) in segments.iter().zip(best) {
                let began = Instant::now();
                let counted = black_box(count(segment));
                *best = began.elapsed().min(*best);
                assert_eq!(counted, segment.each.len(), "{name}");
            }
        }
    }
    let events: usize = segments.iter().map(|segment| segment.each.len()).sum();
    let times: Vec<f64> =
        best.iter().map(|best| best.iter().sum::<Duration>().as_secs_f64()).collect();
    println!("{title}: {events} events of {} bytes", BYTES / events);
    for ((name, _), time) in contenders.iter().zip(&times) {
        println!(
            "  {name:<44} {:>7.0} MB/s {:>7.1} ns each   {:>5.2} x the floor's time",
            BYTES as f64 / time / 1e6,
            time * 1e9 / events as f64,
            time / times[0],
        );
    }
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

fn sse(title: &str, segments: &[Segment], cut: fn(&Segment) -> &[Bytes]) {
    let ours = |segment: &Segment| {
        let mut count = 0;
        bench_support::sse(slices(cut(segment)), |name, data| {
            black_box((name, data));
            count += 1;
        });
        count
    };
    compare(
        title,
        segments,
        &[
            ("floor: memchr at the ends of events", &|segment| events(cut(segment))),
            ("agent-runner", &ours),
            ("sse-stream 0.3", &|segment| count(SseByteStream::new(stream_of(cut(segment))))),
            ("eventsource-stream 0.2", &|segment| count(stream_of(cut(segment)).eventsource())),
        ],
    );
}

fn typed(segments: &[Segment]) {
    let alone = |segment: &Segment| {
        segment.data.iter().filter(|data| bench_support::is_openai_chunk(data)).count()
    };
    // The first event of a reply says that it began.
    let deltas = |pieces: &[Bytes]| bench_support::openai_events(slices(pieces)) - 1;
    compare(
        "typed deltas of chat completions",
        segments,
        &[
            ("floor: serde_json into the same struct", &alone),
            ("agent-runner, pieces of 16 KiB", &|segment| deltas(&segment.pieces)),
            ("agent-runner, one event in each piece", &|segment| deltas(&segment.each)),
        ],
    );
}

fn ndjson(segments: &[Segment]) {
    let ours = |segment: &Segment| {
        let mut count = 0;
        bench_support::lines(slices(&segment.pieces), |line| {
            black_box(line);
            count += 1;
        });
        count
    };
    compare(
        "lines of JSON, pieces of 16 KiB",
        segments,
        &[
            ("floor: memchr at the ends of lines", &|segment| lines(&segment.pieces)),
            ("agent-runner", &ours),
        ],
    );
}

pub(crate) fn run() {
    let segments = Segment::many(chat);
    sse("server-sent events, pieces of 16 KiB", &segments, Segment::pieces);
    sse("server-sent events, one in each piece", &segments, Segment::each);
    typed(&segments);
    ndjson(&Segment::many(line));
}
