//! Asking the web.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use agent_runner_core::{
    time::Clock,
    tool::{ToolError, ToolErrorKind},
};
use reqwest::{
    Method,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use tokio_util::sync::CancellationToken;

use super::{
    cache::{Answers, Dated, Known},
    pace::Pace,
    robots::Robots,
};
use crate::net::{GuardedClient, Hop, NetRequest, after};

/// What is welcome.
const ACCEPTED: &str =
    "text/html,application/xhtml+xml,application/json,text/plain;q=0.9,*/*;q=0.5";

/// Longest wait for a turn to ask a host.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How politely the web is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebOptions {
    /// Whether robots.txt is kept to.
    pub robots: bool,
    /// The product name that robots.txt files know.
    pub agent: String,
    /// Requests to one host a second.
    pub per_second: NonZeroU32,
    /// Requests to one host at once, before that.
    pub burst: NonZeroU32,
}

impl Default for WebOptions {
    /// By robots.txt, as `agent-runner`, once a second after the first five.
    fn default() -> Self {
        Self {
            robots: true,
            agent: "agent-runner".to_owned(),
            per_second: NonZeroU32::MIN,
            burst: NonZeroU32::MIN.saturating_add(4),
        }
    }
}

/// The web, for agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Web {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: GuardedClient,
    clock: Arc<dyn Clock>,
    robots: Option<Robots>,
    pace: Pace,
    answers: Answers,
}

impl Web {
    /// The part of the web that `client` reaches.
    #[must_use]
    pub fn new(client: GuardedClient, clock: Arc<dyn Clock>, options: WebOptions) -> Self {
        let WebOptions { robots, agent, per_second, burst } = options;
        let robots = robots.then(|| Robots::new(agent, Arc::clone(&clock)));
        let (pace, answers) = (Pace::new(per_second, burst, TURN_WAIT_MAX), Answers::new());
        Self { inner: Arc::new(Inner { client, clock, robots, pace, answers }) }
    }

    pub(super) fn get(&self, method: Method, url: &str) -> Result<NetRequest, ToolError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let target = self.inner.client.target(url)?;
        Ok(NetRequest { method, target, headers, body: None })
    }

    /// Asks, within the client's limit of time.
    pub(super) async fn ask(
        &self,
        request: NetRequest,
        cancel: &CancellationToken,
    ) -> Result<Dated, ToolError> {
        if cancel.is_cancelled() {
            let said = "the call was cancelled before anything was sent";
            return Err(ToolError::new(ToolErrorKind::Cancelled, said));
        }
        let inner = &self.inner;
        let work = tokio::time::timeout(inner.client.limits().total, inner.ask(request, cancel));
        match cancel.run_until_cancelled(work).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                let said = "the server did not answer in time";
                Err(ToolError::new(ToolErrorKind::Timeout, said).may_have_run())
            }
            None => {
                let said = "the call was cancelled; the server may have acted on it";
                Err(ToolError::new(ToolErrorKind::Cancelled, said).may_have_run())
            }
        }
    }
}

impl Inner {
    async fn ask(
        &self,
        request: NetRequest,
        cancel: &CancellationToken,
    ) -> Result<Dated, ToolError> {
        let kept = request.method == Method::GET;
        let mut request = request;
        if kept {
            request = match self.answers.before(request, self.clock.now()) {
                Known::Fresh(dated) => return Ok(dated),
                Known::Ask(request) => request,
            };
        }
        for hop in 0..=self.client.limits().redirects_max {
            match after(hop, self.hop(&request, cancel).await)? {
                Hop::Answer(answer) => {
                    let now = self.clock.now();
                    if kept && hop == 0 {
                        return Ok(self.answers.after(&request, answer, now));
                    }
                    return Ok(Dated { answer, fetched_at: now });
                }
                Hop::Redirect(next) => request = next,
            }
        }
        Err(self.client.too_many_redirects())
    }

    async fn hop(
        &self,
        request: &NetRequest,
        cancel: &CancellationToken,
    ) -> Result<Hop, ToolError> {
        if let Some(robots) = &self.robots {
            robots.check(&self.client, &request.target, cancel).await?;
        }
        self.pace.turn(request.target.host()).await?;
        self.client.hop(request.clone()).await
    }
}
