//! robots.txt (RFC 9309).

use std::{fmt, sync::Arc, time::Duration};

use agent_runner_core::{
    time::{Clock, later},
    tool::{ToolError, ToolErrorKind},
};
use bytes::Bytes;
use jiff::Timestamp;
use quick_cache::sync::Cache;
use reqwest::{Method, header::HeaderMap};
use texting_robots::Robot;
use tokio_util::sync::CancellationToken;

use crate::net::{GuardedClient, NetRequest, Target};

/// How long an answer holds (section 2.4).
const HOLDS: Duration = Duration::from_secs(24 * 3_600);
/// How long a failure holds.
const FAILURE_HOLDS: Duration = Duration::from_secs(60);
/// Most of the file that is read; the RFC wants 500 KiB at least.
const BYTES_MAX: usize = 512 * 1024;
/// Longest line that counts.
const LINE_BYTES_MAX: usize = 2_048;
/// Files that are kept.
const FILES_MAX: usize = 512;

/// What a host allows.
#[derive(Clone)]
enum Rules {
    /// Everything: it has no such file.
    All,
    /// Nothing: it should have said, and could not (section 2.3.1.4).
    Nothing(u16),
    /// What the file says.
    File(Arc<Robot>),
}

#[derive(Clone)]
struct Kept {
    rules: Rules,
    until: Timestamp,
}

/// What hosts allow, as far as they were asked.
pub(super) struct Robots {
    agent: String,
    clock: Arc<dyn Clock>,
    kept: Cache<String, Kept>,
}

impl fmt::Debug for Robots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Robots").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Robots {
    /// `agent` is the product name that robots.txt files know.
    pub(super) fn new(agent: String, clock: Arc<dyn Clock>) -> Self {
        Self { agent, clock, kept: Cache::new(FILES_MAX) }
    }

    /// Refuses what the host asks robots not to read.
    pub(super) async fn check(
        &self,
        client: &GuardedClient,
        target: &Target,
        cancel: &CancellationToken,
    ) -> Result<(), ToolError> {
        let origin = target.url().origin().ascii_serialization();
        let now = self.clock.now();
        let kept = match self.kept.get(&origin).filter(|kept| kept.until > now) {
            Some(kept) => kept,
            None => {
                let rules = self.ask(client, &origin, cancel).await?;
                let holds = if matches!(rules, Rules::Nothing(_)) { FAILURE_HOLDS } else { HOLDS };
                let kept = Kept { rules, until: later(now, holds) };
                self.kept.insert(origin, kept.clone());
                kept
            }
        };
        let host = target.host();
        match kept.rules {
            Rules::All => Ok(()),
            Rules::Nothing(status) => Err(refused(format!(
                "the robots.txt of {host} could not be read (status {status}), so nothing there \
                 may be read now; try again later"
            ))),
            Rules::File(robot) => {
                let url = target.url().to_string();
                // Patterns and the URL are strangers' text; matching them takes a while at worst.
                let allowed = tokio::task::spawn_blocking(move || robot.allowed(&url)).await;
                if allowed.unwrap_or(false) {
                    return Ok(());
                }
                Err(refused(format!("the robots.txt of {host} asks robots not to read that")))
            }
        }
    }

    async fn ask(
        &self,
        client: &GuardedClient,
        origin: &str,
        cancel: &CancellationToken,
    ) -> Result<Rules, ToolError> {
        let request = NetRequest {
            method: Method::GET,
            target: client.target(&format!("{origin}/robots.txt"))?,
            headers: HeaderMap::new(),
            body: None,
        };
        let answer = client.send(request, cancel).await?;
        match answer.status {
            200..=299 => self.parse(&answer.body).await,
            400..=499 if answer.status != 429 => Ok(Rules::All),
            status => Ok(Rules::Nothing(status)),
        }
    }

    async fn parse(&self, body: &Bytes) -> Result<Rules, ToolError> {
        let (agent, body) = (self.agent.clone(), body.clone());
        let parsed = tokio::task::spawn_blocking(move || {
            let text: Vec<u8> = body
                .get(..BYTES_MAX.min(body.len()))
                .unwrap_or_default()
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() <= LINE_BYTES_MAX)
                .flat_map(|line| line.iter().copied().chain([b'\n']))
                .collect();
            Robot::new(&agent, &text).ok()
        })
        .await;
        // The parser takes whatever it can make sense of; what it cannot read at all has no rules.
        Ok(parsed.ok().flatten().map_or(Rules::All, |robot| Rules::File(Arc::new(robot))))
    }
}

fn refused(said: String) -> ToolError {
    ToolError::new(ToolErrorKind::Denied, said).with_code("robots_txt")
}
