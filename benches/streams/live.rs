//! Streams over a connection, read by the provider and by a bare reader of the same bytes.

use std::sync::Arc;

use agent_runner::{
    llm::{CallCx, LlmEvent, LlmProvider as _, LlmRequest},
    providers::OpenAiProvider,
};
use futures::StreamExt as _;
use tokio::task::JoinSet;

use crate::{
    serve::{ARGUMENT, DELTAS, ONE, PACE, PACED, now},
    served::Served,
};

const CALLS: usize = 600;
const STREAMS: usize = 1_000;

fn at(server: &Served, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", server.address)
}

/// Sent and received, in nanoseconds.
type Times = Vec<(u64, u64)>;

/// Reads a reply as the engine does.
async fn provider(provider: &OpenAiProvider) -> Times {
    let request = LlmRequest::new("m", Vec::new());
    let mut stream = provider.stream(&request, &CallCx::new("k")).await.unwrap();
    let mut times = Vec::with_capacity(DELTAS);
    while let Some(event) = stream.next().await {
        if let LlmEvent::TextDelta { text } = event.unwrap() {
            times.push((text.parse().unwrap(), now()));
        }
    }
    times
}

/// Reads a reply as bytes and looks for nothing but the time in each piece.
async fn bare(client: &reqwest::Client, url: &str) -> Times {
    let mut answer = client.post(url).body("{}").send().await.unwrap();
    let mut times = Vec::with_capacity(DELTAS);
    while let Some(piece) = answer.chunk().await.unwrap() {
        let received = now();
        let text = std::str::from_utf8(&piece).unwrap();
        if let Some((_, rest)) = text.split_once("\"content\":\"") {
            times.push((rest.split_once('"').unwrap().0.parse().unwrap(), received));
        }
    }
    times
}

fn client() -> reqwest::Client {
    // Fails when the provider was built first, which installs the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

fn openai(base: &str) -> OpenAiProvider {
    OpenAiProvider::new(base, None).unwrap()
}

/// Median, 99th percentile and maximum in milliseconds.
fn spread(mut nanos: Vec<u64>) -> [f64; 3] {
    nanos.sort_unstable();
    let last = nanos.len() - 1;
    [nanos[last / 2], nanos[last * 99 / 100], nanos[last]].map(|nanos| nanos as f64 / 1e6)
}

fn print(name: &str, [median, p99, max]: [f64; 3]) {
    println!("  {name:<44} median {median:>7.3} ms   p99 {p99:>7.3} ms   max {max:>8.3} ms");
}

/// How long after the service sent it the first delta is there.
async fn first_delta(server: &Served) {
    let bare_client = client();
    let url = at(server, &format!("{ONE}/chat/completions"));
    let openai = openai(&at(server, ONE));
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let (sent, received) = bare(&bare_client, &url).await[0];
        floor.push(received.saturating_sub(sent));
        let (sent, received) = provider(&openai).await[0];
        ours.push(received.saturating_sub(sent));
    }
    let (floor, ours) = (spread(floor), spread(ours));
    println!("the first delta after its bytes were sent, {CALLS} calls one after the other");
    print("floor: bare reqwest", floor);
    print("agent-runner", ours);
    println!(
        "  added at the median {:.3} ms, at the 99th percentile {:.3} ms",
        ours[0] - floor[0],
        ours[1] - floor[1]
    );
}

/// Delays of all deltas, and by how much each gap between two exceeds the server's own.
fn report(name: &str, streams: &[Times]) {
    assert_eq!((streams.len(), streams[0].len()), (STREAMS, DELTAS));
    let delays = streams.iter().flatten().map(|(sent, received)| received.saturating_sub(*sent));
    let stalls = streams.iter().flat_map(|times| {
        times.windows(2).map(|pair| (pair[1].1 - pair[0].1).saturating_sub(pair[1].0 - pair[0].0))
    });
    print(&format!("{name}: delay"), spread(delays.collect()));
    print(&format!("{name}: gap beyond the server's"), spread(stalls.collect()));
}

async fn many(server: &Served) {
    println!("{STREAMS} streams at once, {DELTAS} deltas each, one every {PACE:?}");
    let bare_client = client();
    let url: Arc<str> = at(server, &format!("{PACED}/chat/completions")).into();
    let mut readers = JoinSet::new();
    for _ in 0..STREAMS {
        let (client, url) = (bare_client.clone(), Arc::clone(&url));
        readers.spawn(async move { bare(&client, &url).await });
    }
    report("bare reqwest", &readers.join_all().await);

    let openai = Arc::new(openai(&at(server, PACED)));
    let mut readers = JoinSet::new();
    for _ in 0..STREAMS {
        let openai = Arc::clone(&openai);
        readers.spawn(async move { provider(&openai).await });
    }
    report("agent-runner", &readers.join_all().await);
}

pub(crate) fn run() {
    let server = Served::start(ARGUMENT);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(first_delta(&server));
    runtime.block_on(many(&server));
}
