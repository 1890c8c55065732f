//! The model: a process of its own that does what the goal of a run says and counts who asks.
//!
//! `hold` is never answered; `work` calls a tool three times and is not answered then; `park` waits
//! for a day; `tick` gets a delta with the time at which it was sent, again and again; anything else
//! is answered at once. `GET /fan` gets events like those of `tick` without any model behind them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use memchr::memmem;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::served::Served;

pub(crate) const ARGUMENT: &str = "serve-model";
/// Between two ticks.
pub(crate) const PACE: Duration = Duration::from_millis(50);
/// Tool calls of `work`.
const TOOL_CALLS: usize = 3;

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// The model, in a process of its own.
pub(crate) fn start() -> Served {
    Served::start(ARGUMENT)
}

/// Waits until the model at this address was asked so often.
pub(crate) async fn asked(address: &str, times: usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let answer = client.get(format!("http://{address}/count")).send().await.unwrap();
        if answer.text().await.unwrap().parse::<usize>().unwrap() >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

/// Prints its address and serves until it is killed.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let fan = broadcast::Sender::new(64);
        let ticks = fan.clone();
        drop(tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            loop {
                pace.tick().await;
                let _ = ticks.send(tick());
            }
        }));
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            connection.set_nodelay(true).unwrap();
            // A connection ends with its client, which is no fault.
            drop(tokio::spawn(answer(connection, fan.subscribe())));
        }
    });
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                      transfer-encoding: chunked\r\n\r\n";

async fn answer(connection: TcpStream, fan: broadcast::Receiver<String>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    loop {
        let (mut length, mut first) = (0, String::new());
        line.clear();
        while connection.read_line(&mut line).await? > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if first.is_empty() {
                first = line.clone();
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        if first.starts_with("GET /count") {
            let count = ASKED.load(Ordering::Relaxed).to_string();
            connection.write_all(whole("text/plain", &count).as_bytes()).await?;
        } else if first.starts_with("GET /fan") {
            return forward(connection, fan).await;
        } else {
            ASKED.fetch_add(1, Ordering::Relaxed);
            reply(&mut connection, body).await?;
        }
    }
}

async fn forward(
    mut connection: BufReader<TcpStream>,
    mut fan: broadcast::Receiver<String>,
) -> std::io::Result<()> {
    connection.write_all(STREAM.as_bytes()).await?;
    while let Ok(tick) = fan.recv().await {
        send(&mut connection, &tick).await?;
    }
    Ok(())
}

async fn reply(connection: &mut BufReader<TcpStream>, body: Vec<u8>) -> std::io::Result<()> {
    let says = |word: &str| memmem::find(&body, word.as_bytes()).is_some();
    let results = memmem::find_iter(&body, b"\"role\":\"tool\"").count();
    let streamed = says("\"stream\":true");
    if says("bench-tick") {
        connection.write_all(STREAM.as_bytes()).await?;
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            send(connection, &tick()).await?;
        }
    }
    let call = |name: &str, arguments: &str| {
        format!(
            r#"{{"role":"assistant","content":"Next.","tool_calls":[{{"index":0,"id":"call_{results}","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}"#
        )
    };
    let message = if says("bench-hold") || (says("bench-work") && results >= TOOL_CALLS) {
        drop(body);
        return std::future::pending().await;
    } else if says("bench-work") {
        call("time_now", "{}")
    } else if says("bench-park") && results == 0 {
        call("run_wait", r#"{\"seconds\":86400}"#)
    } else {
        r#"{"role":"assistant","content":"The valve can be opened again."}"#.to_owned()
    };
    let finish = if message.contains("tool_calls") { "tool_calls" } else { "stop" };
    if streamed {
        connection.write_all(STREAM.as_bytes()).await?;
        send(connection, &event(&message, &format!("\"{finish}\""))).await?;
        send(connection, "data: [DONE]\n\n").await?;
        return connection.write_all(b"0\r\n\r\n").await;
    }
    let body = format!(
        r#"{{"id":"x","object":"chat.completion","created":1765432100,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"{finish}"}}],"usage":{{"prompt_tokens":210,"completion_tokens":52,"total_tokens":262}}}}"#
    );
    connection.write_all(whole("application/json", &body).as_bytes()).await
}

fn whole(kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1765432100,\
         \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// A delta whose text is the moment at which it was sent, between two signs.
fn tick() -> String {
    event(&format!(r#"{{"content":"@{}@"}}"#, now()), "null")
}

async fn send(connection: &mut BufReader<TcpStream>, text: &str) -> std::io::Result<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    connection.write_all(chunk.as_bytes()).await
}
