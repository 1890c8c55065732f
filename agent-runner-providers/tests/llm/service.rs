//! A service that does exactly what a test says, down to the byte and the lost connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::llm::{CallCx, LlmEvent, LlmProvider, LlmRequest, ProviderError};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and path.
    pub line: String,
    /// The head in lower case.
    pub head: String,
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

/// What the service sends. Afterwards it closes the connection, unless told to hold it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    bytes: Vec<u8>,
    /// What follows, again and again, for so many bytes.
    flood: Option<(Vec<u8>, usize)>,
    /// What follows piece by piece, each after that time.
    paced: (Vec<Vec<u8>>, Duration),
    hold: bool,
    reset: bool,
}

impl Answer {
    /// These bytes and nothing else.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    /// A body with status 200 that the client receives in these pieces, however the network cuts it.
    pub fn pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in pieces {
            bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        Self::raw(bytes)
    }

    /// A whole answer whose body ends with the connection.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status} Whatever\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::raw(format!("{text}\r\n{body}"))
    }

    /// A body with status 200.
    pub fn ok(body: &str) -> Self {
        Self::new(200, &[("x-request-id", "req-7")], body)
    }

    /// Goes on with `piece` again and again, until the client leaves or `bytes` are sent.
    pub fn then_flood(mut self, piece: impl Into<Vec<u8>>, bytes: usize) -> Self {
        self.flood = Some((piece.into(), bytes));
        self
    }

    /// Goes on with each piece after that time.
    pub fn then_paced(mut self, pieces: impl IntoIterator<Item = String>, every: Duration) -> Self {
        self.paced = (pieces.into_iter().map(String::into_bytes).collect(), every);
        self
    }

    /// Resets the connection instead of closing it.
    pub const fn then_reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// A reply of which `half` comes and then the beginning of `rest`, in every way in which a
    /// transfer can break.
    pub fn cuts(half: &str, rest: &str) -> [Self; 4] {
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n40\r\n{rest}",
            half.len()
        );
        let short = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{half}");
        [
            Self::raw(chunked.clone()),
            Self::raw(chunked).then_reset(),
            Self::raw(short),
            Self::ok(&format!("{half}{rest}")),
        ]
    }

    /// Keeps the connection open and silent until the client closes it.
    pub const fn then_silence(mut self) -> Self {
        self.hold = true;
        self
    }
}

/// The service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    closed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// Starts a service that answers each request on a connection of its own.
    pub async fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let closed = Arc::new(Notify::new());
        let (seen, ended) = (Arc::clone(&requests), Arc::clone(&closed));
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, ended, answer) =
                    (Arc::clone(&seen), Arc::clone(&ended), Arc::clone(&answer));
                connections.spawn(async move {
                    let _ = serve(socket, &seen, answer.as_ref(), &ended).await;
                });
            }
        });
        Self { address, requests, closed, task }
    }

    /// Starts a service that gives every request the same answer.
    pub async fn always(answer: Answer) -> Self {
        Self::start(move |_| answer.clone()).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until a client has closed a connection that was held open.
    pub async fn client_closed(&self) {
        let closed = tokio::time::timeout(Duration::from_secs(10), self.closed.notified()).await;
        closed.expect("the client keeps its connection open");
    }
}

async fn serve(
    mut socket: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
    closed: &Notify,
) -> std::io::Result<()> {
    let request = read(&mut socket).await?;
    let answer = answer(&request);
    seen.lock().unwrap().push(request);
    socket.write_all(&answer.bytes).await?;
    if let Some((piece, bytes)) = &answer.flood {
        for _ in 0..bytes / piece.len() {
            socket.write_all(piece).await?;
        }
    }
    let (pieces, every) = &answer.paced;
    for piece in pieces {
        tokio::time::sleep(*every).await;
        socket.write_all(piece).await?;
    }
    if answer.reset {
        socket.set_zero_linger()?;
    }
    if answer.hold {
        let mut rest = [0; 64];
        while socket.read(&mut rest).await.unwrap_or(0) > 0 {}
        closed.notify_one();
    }
    Ok(())
}

async fn read(socket: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let head = head.to_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&bytes[head_end..]).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Request { line, head, body, text })
}

/// An address where nobody listens.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The items of a call, and the error before or in its stream.
pub async fn hear(
    provider: &dyn LlmProvider,
    request: &LlmRequest,
    cx: &CallCx,
) -> (Vec<LlmEvent>, Option<ProviderError>) {
    let mut stream = match provider.stream(request, cx).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}
