//! The model: a process of its own that answers chat completions over loopback at once, so that what
//! is measured is the other side. It calls a tool three times and then answers, as it reads from the
//! conversation that it is sent; it keeps no state.

use std::sync::LazyLock;

use memchr::memmem;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

pub(crate) const ARGUMENT: &str = "serve-model";
/// Tool calls before the answer.
pub(crate) const TOOL_CALLS: usize = 3;
/// A reply of about 50 tokens.
const TEXT: &str = "The three measurements agree with each other within the error that was expected \
    of them, so the valve on the second line can be opened again as planned, and nobody has to stay \
    on site for it tonight, or tomorrow, or during the week after that.";

/// Prints its address and serves until it is killed.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
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
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        line.clear();
        while connection.read_line(&mut line).await? > 2 {
            let name = line.as_bytes().get(..15).unwrap_or_default();
            if name.eq_ignore_ascii_case(b"content-length:") {
                length = line[15..].trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        body.resize(length, 0);
        connection.read_exact(&mut body).await?;
        let results = memmem::find_iter(&body, b"\"role\":\"tool\"").count();
        let streamed = memmem::find(&body, b"\"stream\":true").is_some();
        connection.write_all(reply(results, streamed)).await?;
    }
}

fn reply(results: usize, streamed: bool) -> &'static [u8] {
    static REPLIES: LazyLock<Vec<[Vec<u8>; 2]>> = LazyLock::new(|| {
        (0..=TOOL_CALLS).map(|results| [whole(&message(results)), pieces(results)]).collect()
    });
    &REPLIES[results.min(TOOL_CALLS)][usize::from(streamed)]
}

fn message(results: usize) -> String {
    if results < TOOL_CALLS {
        format!(
            r#"{{"role":"assistant","content":"{TEXT}","tool_calls":[{{"id":"call_{results}","type":"function","function":{{"name":"add","arguments":"{{\"a\":{results},\"b\":2}}"}}}}]}}"#
        )
    } else {
        format!(r#"{{"role":"assistant","content":"{TEXT}"}}"#)
    }
}

const USAGE: &str = r#"{"prompt_tokens":210,"completion_tokens":52,"total_tokens":262}"#;

fn whole(message: &str) -> Vec<u8> {
    let finish = if message.contains("tool_calls") { "tool_calls" } else { "stop" };
    let body = format!(
        r#"{{"id":"chatcmpl-CZq8s1v0Kd3mXwTn","object":"chat.completion","created":1765432100,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"{finish}"}}],"usage":{USAGE}}}"#
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The same as events, one a word.
fn pieces(results: usize) -> Vec<u8> {
    let mut body = String::new();
    let mut delta = |delta: &str, finish: &str| {
        body.push_str(&format!(
            "data: {{\"id\":\"chatcmpl-CZq8s1v0Kd3mXwTn\",\"object\":\"chat.completion.chunk\",\
             \"created\":1765432100,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"finish_reason\":{finish}}}]}}\n\n"
        ));
    };
    delta(r#"{"role":"assistant","content":""}"#, "null");
    for word in TEXT.split_inclusive(' ') {
        delta(&format!(r#"{{"content":"{word}"}}"#), "null");
    }
    if results < TOOL_CALLS {
        delta(
            &format!(
                r#"{{"tool_calls":[{{"index":0,"id":"call_{results}","type":"function","function":{{"name":"add","arguments":""}}}}]}}"#
            ),
            "null",
        );
        delta(
            &format!(
                r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{{\"a\":{results},\"b\":2}}"}}}}]}}"#
            ),
            "null",
        );
        delta("{}", "\"tool_calls\"");
    } else {
        delta("{}", "\"stop\"");
    }
    body.push_str(&format!(
        "data: {{\"id\":\"chatcmpl-CZq8s1v0Kd3mXwTn\",\"object\":\"chat.completion.chunk\",\
         \"created\":1765432100,\"model\":\"m\",\"choices\":[],\"usage\":{USAGE}}}\n\ndata: [DONE]\n\n"
    ));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    format!("{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}
