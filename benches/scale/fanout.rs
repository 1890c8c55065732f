//! One run and a thousand who watch it: from the moment something is sent to the moment each has it.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier,
};

use crate::{
    model::{self, PACE},
    percentile,
    server::Site,
};

const WATCHERS: usize = 1_000;
/// Moments that each watcher gets.
const MOMENTS: usize = 100;

/// Opens streams of `path` and reads moments from each; how late they came. They are sent once all
/// are connected and `begin` was called.
async fn watch<F: Future<Output = ()>>(
    address: &str,
    path: &str,
    begin: impl FnOnce() -> F,
) -> Vec<Duration> {
    let connected = Arc::new(Barrier::new(WATCHERS + 1));
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let (address, connected) = (address.to_owned(), Arc::clone(&connected));
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        watchers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut first = vec![0; 64 * 1024];
            assert!(stream.read(&mut first).await.unwrap() > 0);
            assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
            connected.wait().await;
            moments(stream, model::now()).await
        }));
    }
    connected.wait().await;
    begin().await;
    let mut late = Vec::new();
    for watcher in watchers {
        late.extend(watcher.await.unwrap());
    }
    late
}

/// How late moments came that were sent after `begin`.
async fn moments(mut stream: TcpStream, begin: u64) -> Vec<Duration> {
    let (mut late, mut buffer, mut kept) = (Vec::new(), vec![0; 64 * 1024], 0);
    while late.len() < MOMENTS {
        let read = stream.read(&mut buffer[kept..]).await.unwrap();
        assert!(read > 0, "the stream ended after {} moments", late.len());
        let now = model::now();
        let end = kept + read;
        let mut rest = 0;
        for at in memchr::memchr_iter(b'@', &buffer[..end]) {
            // Nineteen digits between two signs.
            if at >= rest && at + 21 <= end && buffer[at + 20] == b'@' {
                let digits = std::str::from_utf8(&buffer[at + 1..at + 20]).unwrap();
                let sent: u64 = digits.parse().unwrap();
                if sent > begin {
                    late.push(Duration::from_nanos(now.saturating_sub(sent)));
                }
                rest = at + 21;
            }
        }
        let tail = end.saturating_sub(20).max(rest);
        buffer.copy_within(tail..end, 0);
        kept = end - tail;
    }
    late
}

fn report(what: &str, mut late: Vec<Duration>) {
    println!(
        "one run, {WATCHERS} watchers: {what:<46} median {:>8.1?}, 99 % {:>8.1?}, longest {:>8.1?}",
        percentile(&mut late, 50),
        percentile(&mut late, 99),
        percentile(&mut late, 100)
    );
}

pub(crate) async fn run() {
    let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
    let site = Site::new(directory.path(), &model.address);
    let late = watch(&model.address, "/fan", || async {}).await;
    report("floor: a bare writer of the same deltas", late);
    let server = site.start().await;
    let id = server.create("bench-tick", 1).await.remove(0);
    model::asked(&model.address, 1).await;
    let path = format!("/runs/{id}/events/stream");
    report("deltas of a model", watch(server.address(), &path, || async {}).await);
    server.post(&format!("/runs/{id}/cancel"), &json!({})).await;
    let id = server.create("bench-hold", 1).await.remove(0);
    model::asked(&model.address, 2).await;
    let path = format!("/runs/{id}/events/stream");
    let send = || async {
        let mut pace = tokio::time::interval(PACE);
        let path = format!("/runs/{id}/signals/moment");
        // Some more, for those who began to count after the first ones.
        for _ in 0..MOMENTS + 10 {
            pace.tick().await;
            let signal = json!({"payload": format!("@{}@", model::now())});
            server.post(&path, &signal).await;
        }
    };
    report("signals, from their request on", watch(server.address(), &path, send).await);
}
