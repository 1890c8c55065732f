//! What a server says unasked, kept in bounds.

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        CustomRequest, DiscoverResult, Implementation, InitializeResult, RequestId,
        ServerCapabilities, ServerNotification, ServerRequest, ServerResult,
    },
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::Notify;
use tracing::debug;

use super::{bucket::Bucket, secret::Redactor, text};

/// Most of one line that is logged, in bytes.
const LOG_BYTES_MAX: usize = 1_024;

/// Longest id of a request, and longest name of a version.
const ID_BYTES_MAX: usize = 100;

type Message = RxJsonRpcMessage<RoleClient>;

/// A server says more than anybody listens to.
#[derive(Debug)]
struct Flood;

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

/// A transport of which only answers, and requests at a moderate rate and without their contents,
/// come through. It acts on the news that the list of tools changed, logs what the server wants
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

    /// The part of a message that the client may see, if there is one; an error when the
    /// connection has to end.
    fn admit(&mut self, message: Message) -> Result<Option<Message>, Flood> {
        match message {
            Message::Response(mut response) => {
                match &mut response.result {
                    ServerResult::InitializeResult(server) => shorten(server)?,
                    ServerResult::DiscoverResult(server) => shorten_discovered(server),
                    _ => {}
                }
                Ok(Some(Message::Response(response)))
            }
            // One without an id answers nothing.
            Message::Error(error) => Ok(error.id.is_some().then_some(Message::Error(error))),
            Message::Request(mut request) => {
                self.may_go_on()?;
                let long = matches!(&request.id, RequestId::String(id) if id.len() > ID_BYTES_MAX);
                if long || !self.requests.pass() {
                    return Ok(None);
                }
                if !matches!(request.request, ServerRequest::PingRequest(_)) {
                    // It will be refused, whatever it says.
                    let nameless = CustomRequest::new("refused", None);
                    request.request = ServerRequest::CustomRequest(nameless);
                }
                Ok(Some(Message::Request(request)))
            }
            Message::Notification(notification) => {
                self.may_go_on()?;
                self.hear(&notification.notification);
                Ok(None)
            }
        }
    }

    #[expect(deprecated, reason = "servers of today still send what they want logged")]
    fn hear(&mut self, notification: &ServerNotification) {
        match notification {
            ServerNotification::ToolListChangedNotification(_) => self.changed.notify_one(),
            ServerNotification::LoggingMessageNotification(message) => {
                let said = message.params.data.to_string();
                self.log.say("notification", text::cut(&said, 4 * LOG_BYTES_MAX));
            }
            _ => {}
        }
    }

    fn may_go_on(&mut self) -> Result<(), Flood> {
        self.news.pass().then_some(()).ok_or(Flood)
    }
}

/// A server introduces itself with what is of use here.
fn shorten(server: &mut InitializeResult) -> Result<(), Flood> {
    if server.protocol_version.as_str().len() > ID_BYTES_MAX {
        return Err(Flood);
    }
    let (name, version) = (&server.server_info.name, &server.server_info.version);
    server.server_info = Implementation::new(text::line(name, 200), text::line(version, 100));
    server.instructions = None;
    server.meta = None;
    shorten_capabilities(&mut server.capabilities);
    Ok(())
}

/// The same of a server without a handshake. Of its metadata only its name is used.
fn shorten_discovered(server: &mut DiscoverResult) {
    server.instructions = None;
    server.supported_versions.retain(|version| version.as_str().len() <= ID_BYTES_MAX);
    server.supported_versions.truncate(32);
    let info = server.server_info().map(|info| {
        Implementation::new(text::line(&info.name, 200), text::line(&info.version, 100))
    });
    server.meta = None;
    if let Some(info) = info {
        server.set_server_info(info);
    }
    shorten_capabilities(&mut server.capabilities);
}

fn shorten_capabilities(capabilities: &mut ServerCapabilities) {
    let tools = capabilities.tools.take();
    *capabilities = ServerCapabilities::default();
    capabilities.tools = tools;
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
    async fn receive(&mut self) -> Option<Message> {
        loop {
            let message = self.inner.receive().await?;
            match self.admit(message) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(Flood) => {
                    self.log.say("flood", "too much unasked; the connection is closed");
                    return None;
                }
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests;
