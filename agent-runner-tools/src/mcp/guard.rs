//! What a server says unasked, kept in bounds.

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::ServerNotification,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::Notify;
use tracing::debug;

use super::{bucket::Bucket, secret::Redactor, text};

/// Most of one line that is logged, in bytes.
const LOG_BYTES_MAX: usize = 1_024;

/// Writes what a server says into our log: little, clean, and without secrets.
#[derive(Debug)]
pub(super) struct ServerLog {
    server: String,
    redactor: Redactor,
    bucket: Bucket,
    left_out: u64,
}

impl ServerLog {
    pub(super) fn new(server: &str, redactor: Redactor) -> Self {
        let bucket = Bucket::new(100, Duration::from_millis(100));
        Self { server: server.to_owned(), redactor, bucket, left_out: 0 }
    }

    /// Logs a line that came by `way`.
    pub(super) fn say(&mut self, way: &'static str, line: &str) {
        if !self.bucket.pass() {
            self.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut self.left_out);
        let said = text::line(&self.redactor.text(line), LOG_BYTES_MAX);
        debug!(mcp.server = %self.server, way, left_out, said, "an MCP server says");
    }
}

/// A transport of which only answers, requests at a moderate rate, and withdrawn requests come
/// through. It acts on the news that the list of tools changed, logs what the server wants
/// logged, and drops the rest.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    inner: T,
    log: ServerLog,
    changed: Arc<Notify>,
    requests: Bucket,
    news: Bucket,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T, log: ServerLog, changed: Arc<Notify>) -> Self {
        Self {
            inner,
            log,
            changed,
            requests: Bucket::new(32, Duration::from_secs(1)),
            news: Bucket::new(10_000, Duration::from_millis(10)),
        }
    }

    /// Whether the client may see it; `None` when the server floods.
    #[expect(deprecated, reason = "servers of today still send what they want logged")]
    fn admit(&mut self, message: &RxJsonRpcMessage<RoleClient>) -> Option<bool> {
        let notification = match message {
            RxJsonRpcMessage::<RoleClient>::Response(_)
            | RxJsonRpcMessage::<RoleClient>::Error(_) => {
                return Some(true);
            }
            RxJsonRpcMessage::<RoleClient>::Request(_) => {
                return self.may_go_on().then(|| self.requests.pass());
            }
            RxJsonRpcMessage::<RoleClient>::Notification(notification) => {
                &notification.notification
            }
        };
        if !self.may_go_on() {
            return None;
        }
        match notification {
            ServerNotification::ToolListChangedNotification(_) => self.changed.notify_one(),
            ServerNotification::LoggingMessageNotification(message) => {
                let said = message.params.data.to_string();
                self.log.say("notification", text::cut(&said, 4 * LOG_BYTES_MAX));
            }
            ServerNotification::CancelledNotification(_) => return Some(self.requests.pass()),
            _ => {}
        }
        Some(false)
    }

    fn may_go_on(&mut self) -> bool {
        let may = self.news.pass();
        if !may {
            self.log.say("flood", "says too much unasked; the connection is closed");
        }
        may
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Guarded<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    /// # Cancellation
    /// As safe as the inner transport: nothing is held while it is awaited.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.inner.receive().await?;
            if self.admit(&message)? {
                return Some(message);
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
