//! A server as a source of tools.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_runner_core::{
    id::{IdSource, SystemIds},
    limits,
    time::{Clock, SystemClock},
    tool::{SourceStatus, Tool, ToolSource},
};
use jiff::Timestamp;
use rmcp::{Peer, RoleClient};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    catalogue::Catalogue,
    config::{McpServer, McpServerError, McpTransport},
    connection::{self, News, Opening, Running, TOOLS_MAX},
    error::ConnectError,
    http::HttpEndpoint,
    link::{Link, State, Up},
    report::{McpReport, McpServerInfo, McpToolReport},
    secret::Redactor,
};

/// Longest time that a connection may take to end. The transports need less.
const CLOSE: Duration = Duration::from_secs(10);
/// A connection that held this long was a good one: the next waits are short again.
const STEADY: Duration = Duration::from_secs(60);
/// Least time between two readings of the list of tools.
const REFRESH: Duration = Duration::from_secs(1);

/// What is known of a server.
#[derive(Debug, Default)]
struct Known {
    catalogue: Catalogue,
    info: Option<McpServerInfo>,
    connected_since: Option<Timestamp>,
    connections: u64,
    last_error: Option<(String, Timestamp)>,
}

/// An MCP server whose tools agents can have. It does nothing until somebody runs it.
///
/// ```
/// use agent_runner_core::tool::ToolSource as _;
/// use agent_runner_tools::mcp::{McpServer, McpSource};
///
/// let server = McpServer::http("tickets", "https://mcp.example.com/v1");
/// let source = McpSource::new(server).unwrap();
/// assert_eq!(source.name(), "tickets");
/// assert!(source.tools().is_empty());
/// ```
#[derive(Debug)]
pub struct McpSource {
    server: McpServer,
    http: Option<HttpEndpoint>,
    redactor: Redactor,
    link: Arc<Link>,
    changed: Arc<Notify>,
    known: Mutex<Known>,
    running: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl McpSource {
    /// The source of a server.
    ///
    /// # Errors
    /// What is wrong with the description of the server.
    pub fn new(server: McpServer) -> Result<Arc<Self>, McpServerError> {
        Self::with_clock(server, Arc::new(SystemClock), Arc::new(SystemIds))
    }

    /// The same with another clock and another source of randomness.
    ///
    /// # Errors
    /// What is wrong with the description of the server.
    pub fn with_clock(
        server: McpServer,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Arc<Self>, McpServerError> {
        server.check()?;
        let redactor = Redactor::new(server.secrets());
        let link = Arc::new(Link::new(server.name.clone(), server.limits));
        let http = match &server.transport {
            McpTransport::Http { url, headers } => {
                Some(HttpEndpoint::new(url, headers, redactor.clone(), &link)?)
            }
            McpTransport::Stdio { .. } => None,
        };
        Ok(Arc::new(Self {
            server,
            http,
            redactor,
            link,
            changed: Arc::default(),
            known: Mutex::default(),
            running: tokio::sync::Mutex::default(),
            clock,
            ids,
        }))
    }

    /// How it is, in detail.
    #[must_use]
    pub fn report(&self) -> McpReport {
        let known = self.known();
        McpReport {
            name: self.server.name.clone(),
            transport: match self.server.transport {
                McpTransport::Stdio { .. } => "stdio",
                McpTransport::Http { .. } => "http",
            },
            status: self.status(),
            server: known.info.clone(),
            connected_since: known.connected_since,
            connections: known.connections,
            last_error: known.last_error.as_ref().map(|(error, _)| error.clone()),
            last_error_at: known.last_error.as_ref().map(|(_, at)| *at),
            tools: known.catalogue.tools.iter().map(|t| t.info().spec.name.clone()).collect(),
            dropped: known.catalogue.dropped.clone(),
        }
    }

    /// Waits until a report is as wanted, for programs that begin when the tools are there.
    pub async fn wait_until(&self, wanted: impl Fn(&McpReport) -> bool) {
        let mut news = self.link.state.subscribe();
        while !wanted(&self.report()) {
            // The sender lives as long as this value.
            let _ = news.changed().await;
        }
    }

    /// Connects, and connects again whenever that is necessary, until `stop` fires; then ends
    /// the connection, and the program of a server that is one. A second call waits for the
    /// first to end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Some(_alone) = stop.run_until_cancelled(self.running.lock()).await else { return };
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            self.link.state.send_replace(State::Connecting);
            let opening = timeout(self.server.limits.connect, self.connect());
            let why = match stop.run_until_cancelled(opening).await {
                None => break,
                Some(Ok(Ok((running, news)))) => {
                    let since = self.clock.now();
                    let why = self.hold(running, news, &stop).await;
                    let held = self.clock.now().duration_since(since);
                    if Duration::try_from(held).is_ok_and(|held| held >= STEADY) {
                        failures = 0;
                    }
                    why
                }
                Some(Ok(Err(error))) => error.why,
                Some(Err(_)) => "the server did not answer in time".to_owned(),
            };
            if stop.is_cancelled() {
                break;
            }
            failures = failures.saturating_add(1);
            self.lost(&why);
            stop.run_until_cancelled(self.clock.sleep(self.backoff(failures))).await;
        }
        self.known().connected_since = None;
        self.link.state.send_replace(State::Down("it was stopped".to_owned()));
    }

    /// Connects and lists the tools. A server that refuses the handshake may be one of those
    /// that have none any more.
    async fn connect(&self) -> Result<(Running, News), ConnectError> {
        let running = match self.open(Opening::Handshake).await {
            Err(error) if error.refused => {
                self.open(Opening::Discovery).await.map_err(|_| error)?
            }
            result => result?,
        };
        let begun = async {
            let news = News::ask(running.peer()).await?;
            self.refresh(running.peer()).await.map(|()| news)
        };
        match begun.await {
            Ok(news) => Ok((running, news)),
            Err(error) => {
                close(running).await;
                Err(error)
            }
        }
    }

    async fn open(&self, opening: Opening) -> Result<Running, ConnectError> {
        let http = self.http.as_ref();
        connection::open(&self.server, http, &self.redactor, &self.changed, opening).await
    }

    /// Reads the list of tools.
    async fn refresh(&self, peer: &Peer<RoleClient>) -> Result<(), ConnectError> {
        let (listed, more) = connection::list(peer).await?;
        let before = self.known().catalogue.clone();
        let mut catalogue = Catalogue::new(&self.server, &self.link, &listed, &before);
        if more {
            let why = format!("the server has more than {TOOLS_MAX} tools");
            catalogue.dropped.push(McpToolReport { name: "…".to_owned(), why });
        }
        if catalogue.dropped != before.dropped {
            for dropped in &catalogue.dropped {
                let (tool, why) = (&dropped.name, &dropped.why);
                warn!(mcp.server = %self.server.name, tool, why, "a tool is not offered");
            }
        }
        self.known().catalogue = catalogue;
        // Whoever waits for news looks again.
        self.link.state.send_modify(|_| {});
        Ok(())
    }

    /// Keeps a connection for as long as it stands; says why it does not any more.
    async fn hold(&self, running: Running, news: News, stop: &CancellationToken) -> String {
        let peer = running.peer().clone();
        let gone = CancellationToken::new();
        let guard = gone.clone().drop_guard();
        {
            let mut known = self.known();
            known.info = connection::info(&peer);
            known.connected_since = Some(self.clock.now());
            known.connections += 1;
        }
        self.link.state.send_replace(State::Up(Up { peer: peer.clone(), gone }));
        info!(mcp.server = %self.server.name, tools = self.tools().len(), "connected");
        let end = running.cancellation_token();
        let mut ended = std::pin::pin!(running.waiting());
        let why = tokio::select! {
            _ = &mut ended => return "the server closed the connection".to_owned(),
            () = stop.cancelled() => "it was stopped".to_owned(),
            error = self.watch(&peer, news) => error.why,
        };
        self.known().connected_since = None;
        self.link.state.send_replace(State::Down(why.clone()));
        drop(guard);
        end.cancel();
        let _ = timeout(CLOSE, ended).await;
        why
    }

    /// Reads the list again when it changed, and asks for signs of life; ends when there are none.
    async fn watch(&self, peer: &Peer<RoleClient>, mut news: News) -> ConnectError {
        loop {
            let work = tokio::select! {
                () = self.changed.notified() => {
                    // News that come meanwhile are the same news.
                    self.clock.sleep(REFRESH).await;
                    let read = timeout(self.server.limits.connect, self.refresh(peer)).await;
                    if !matches!(read, Ok(Ok(()))) && !self.link.is_idle() {
                        // A server that does one thing at a time will answer when it is done.
                        self.changed.notify_one();
                        continue;
                    }
                    read
                }
                () = self.link.suspect.notified() => self.probe(peer, &mut news).await,
                () = self.clock.sleep(self.server.limits.ping) => {
                    // Some servers do one thing at a time. What is lost shows when a call is late.
                    if !self.link.is_idle() {
                        continue;
                    }
                    self.probe(peer, &mut news).await
                }
            };
            match work {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => return ConnectError::new("the server does not answer"),
            }
        }
    }

    async fn probe(
        &self,
        peer: &Peer<RoleClient>,
        news: &mut News,
    ) -> Result<Result<(), ConnectError>, tokio::time::error::Elapsed> {
        let probe = async {
            connection::ping(peer).await?;
            if news.ended() {
                *news = News::ask(peer).await?;
                self.refresh(peer).await?;
            }
            Ok(())
        };
        timeout(self.server.limits.wait, probe).await
    }

    fn lost(&self, why: &str) {
        warn!(mcp.server = %self.server.name, why, "not connected; it is tried again");
        let mut known = self.known();
        known.connected_since = None;
        known.last_error = Some((why.to_owned(), self.clock.now()));
        drop(known);
        self.link.state.send_replace(State::Down(why.to_owned()));
    }

    /// Exponential with full jitter.
    fn backoff(&self, failures: u32) -> Duration {
        const SHARES: u32 = 1_000;
        let factor = 1_u32 << failures.saturating_sub(1).min(16);
        let ceiling = (limits::RETRY_DELAY_MIN * factor).min(limits::RETRY_DELAY_MAX);
        // The last bytes of a UUIDv7 are random; the id source is the injected randomness.
        let share = u32::try_from(self.ids.next().as_u128() % u128::from(SHARES)).unwrap_or(0);
        ceiling * share / SHARES
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn close(running: Running) {
    running.cancellation_token().cancel();
    let _ = timeout(CLOSE, running.waiting()).await;
}

impl ToolSource for McpSource {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let known = self.known();
        known.catalogue.tools.iter().map(|tool| Arc::clone(tool) as Arc<dyn Tool>).collect()
    }

    fn status(&self) -> SourceStatus {
        match &*self.link.state.borrow() {
            State::Connecting => SourceStatus::Connecting,
            State::Up(_) => SourceStatus::Ready,
            State::Down(why) => SourceStatus::Down(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[derive(Debug)]
    struct Always(u128);

    impl IdSource for Always {
        fn next(&self) -> Uuid {
            Uuid::from_u128(self.0)
        }
    }

    #[test]
    fn waits_grow_to_a_limit_and_have_full_jitter() {
        let waits = |share| {
            let server = McpServer::stdio("x", "true");
            let clock = Arc::new(SystemClock);
            let source = McpSource::with_clock(server, clock, Arc::new(Always(share))).unwrap();
            [1, 2, 3, 7, 1_000].map(|failures| source.backoff(failures).as_millis())
        };
        assert_eq!(waits(999), [499, 999, 1_998, 29_970, 29_970]);
        assert_eq!(waits(500), [250, 500, 1_000, 15_000, 15_000]);
        assert_eq!(waits(0), [0; 5]);
    }
}
