//! The loopback server: a process of its own, so that it shares no thread with what is measured.
//!
//! A delta's text is the time at which it was sent, in nanoseconds since 1970.

use std::time::{Duration, SystemTime};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep},
};

pub(crate) const ARGUMENT: &str = "serve-streams";
/// The path of a reply that has one delta.
pub(crate) const ONE: &str = "/one/v1";
/// The path of a reply that has a delta every [`PACE`].
pub(crate) const PACED: &str = "/paced/v1";
pub(crate) const PACE: Duration = Duration::from_millis(50);
pub(crate) const DELTAS: usize = 80;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

/// Prints its port and serves until it is killed.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            connection.set_nodelay(true).unwrap();
            // A connection ends with its client, which is no fault.
            drop(tokio::spawn(answer(connection)));
        }
    });
}

async fn answer(connection: TcpStream) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut paced, mut length, mut line) = (false, 0, String::new());
        while connection.read_line(&mut line).await? > 2 {
            paced |= line.contains(PACED);
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        connection.read_exact(&mut vec![0; length]).await?;
        connection.write_all(HEAD.as_bytes()).await?;
        if paced {
            // Streams of different clients do not beat in time.
            sleep(Duration::from_nanos(now() % PACE.as_nanos() as u64)).await;
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..DELTAS {
                pace.tick().await;
                send(&mut connection, &delta()).await?;
            }
        } else {
            sleep(Duration::from_millis(1)).await;
            send(&mut connection, &delta()).await?;
        }
        let end = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        send(&mut connection, end).await?;
        connection.write_all(b"0\r\n\r\n").await?;
    }
}

fn delta() -> String {
    let sent = now();
    format!(
        "data: {{\"id\":\"chatcmpl-CZq8s1v0Kd3mXwTn\",\"object\":\"chat.completion.chunk\",\
         \"created\":1765432100,\"model\":\"m\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\"{sent}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

async fn send(connection: &mut BufReader<TcpStream>, text: &str) -> std::io::Result<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    connection.write_all(chunk.as_bytes()).await
}
