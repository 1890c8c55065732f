//! One connection to a server.

use std::sync::Arc;

use rmcp::{
    ErrorData, Peer, RoleClient, ServiceError,
    model::{
        ClientCapabilities, ClientConfig, ClientRequest, ClientResult, ErrorCode, Implementation,
        ListToolsRequest, PaginatedRequestParams, PingRequest, ProtocolVersion, ServerNotification,
        ServerRequest, ServerResult, SubscriptionFilter, SubscriptionsListenRequest,
        SubscriptionsListenRequestParams, Tool,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions,
        RequestContext, RequestHandle, RunningService, Service,
    },
    transport::Transport,
};
use tokio::sync::{Notify, oneshot::error::TryRecvError};

use super::{
    config::{McpServer, McpTransport},
    error::ConnectError,
    guard::{Guarded, ServerLog},
    http::HttpEndpoint,
    report::McpServerInfo,
    secret::Redactor,
    stdio::StdioTransport,
    text,
};

/// Most tools of one server.
pub(super) const TOOLS_MAX: usize = 256;
/// Most pages that their list is read from.
const PAGES_MAX: usize = 32;

/// The client that servers see. It tells them that it is there, and does nothing else for them.
#[derive(Debug)]
pub(super) struct Client;

impl Service<RoleClient> for Client {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        match request {
            ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
            _ => {
                let told = "this client answers nothing but `ping`";
                Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, told, None))
            }
        }
    }

    async fn handle_notification(
        &self,
        _notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("agent-runner", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

pub(super) type Running = RunningService<RoleClient, Client>;

/// How a conversation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// With the handshake that the protocol had until 2025-11-25.
    Handshake,
    /// Without one, as since 2026-07-28.
    Discovery,
}

/// Connects to a server and introduces the client. Dropping the future undoes all of it.
pub(super) async fn open(
    server: &McpServer,
    http: Option<&HttpEndpoint>,
    redactor: &Redactor,
    changed: &Arc<Notify>,
    opening: Opening,
) -> Result<Running, ConnectError> {
    let log = || ServerLog::new(&server.name, redactor.clone());
    match (&server.transport, http) {
        (McpTransport::Stdio { program, args, env }, _) => {
            let size = server.limits.message_bytes_max;
            let transport = StdioTransport::spawn(program, args, env, size, (redactor, log))?;
            serve(Guarded::new(transport, log(), Arc::clone(changed)), opening).await
        }
        (McpTransport::Http { .. }, Some(http)) => {
            serve(Guarded::new(http.open(), log(), Arc::clone(changed)), opening).await
        }
        (McpTransport::Http { .. }, None) => Err(ConnectError::new("there is no HTTP client")),
    }
}

async fn serve<T: Transport<RoleClient> + 'static>(
    transport: Guarded<T>,
    opening: Opening,
) -> Result<Running, ConnectError> {
    let lifecycle = match opening {
        Opening::Handshake => ClientLifecycleMode::Initialize,
        Opening::Discovery => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    };
    Ok(Box::pin(Client.serve_with_lifecycle(transport, lifecycle)).await?)
}

/// What the server calls itself.
pub(super) fn info(peer: &Peer<RoleClient>) -> Option<McpServerInfo> {
    let info = peer.peer_info()?;
    let server = info.server_info.as_ref();
    Some(McpServerInfo {
        name: server.map(|server| text::line(&server.name, 200)).unwrap_or_default(),
        version: server.map(|server| text::line(&server.version, 100)).unwrap_or_default(),
        protocol: text::line(info.protocol_version.as_str(), 40),
    })
}

/// News of the list of tools, from servers that do not send them unasked.
#[derive(Debug)]
pub(super) struct News(Option<RequestHandle<RoleClient>>);

impl News {
    /// Asks for them. They come as notifications, which the guard hears.
    pub(super) async fn ask(peer: &Peer<RoleClient>) -> Result<Self, ConnectError> {
        let unasked = peer.peer_info().is_none_or(|info| info.protocol_version.has_initialize());
        if unasked {
            return Ok(Self(None));
        }
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let params = SubscriptionsListenRequestParams::new(filter);
        let request = SubscriptionsListenRequest::new(params);
        let request = ClientRequest::SubscriptionsListenRequest(request);
        let options = PeerRequestOptions::no_options();
        Ok(Self(Some(peer.send_cancellable_request(request, options).await?)))
    }

    /// Whether they ended, and can be asked for again.
    pub(super) fn ended(&mut self) -> bool {
        let Some(request) = &mut self.0 else { return false };
        match request.rx.try_recv() {
            Err(TryRecvError::Empty) => false,
            Ok(Err(ServiceError::McpError(_))) => {
                // The server has none.
                self.0 = None;
                false
            }
            Ok(_) | Err(TryRecvError::Closed) => true,
        }
    }
}

/// Lists the tools, up to [`TOOLS_MAX`]; and whether there are more.
pub(super) async fn list(peer: &Peer<RoleClient>) -> Result<(Vec<Tool>, bool), ConnectError> {
    let none = peer.peer_info().is_some_and(|info| info.capabilities.tools.is_none());
    if none {
        return Ok((Vec::new(), false));
    }
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let params = Some(PaginatedRequestParams::default().with_cursor(cursor));
        let request = ListToolsRequest { params, ..ListToolsRequest::default() };
        match ask(peer, ClientRequest::ListToolsRequest(request)).await? {
            ServerResult::ListToolsResult(page) => {
                tools.extend(page.tools);
                cursor = page.next_cursor;
            }
            // Without any content, a result of this kind is an empty list.
            ServerResult::EmptyResult(_) => cursor = None,
            _ => return Err(ConnectError::new("the server did not answer with a list of tools")),
        }
        if cursor.is_none() || tools.len() > TOOLS_MAX {
            break;
        }
    }
    let more = cursor.is_some() || tools.len() > TOOLS_MAX;
    tools.truncate(TOOLS_MAX);
    Ok((tools, more))
}

/// Asks whether the server is there. Any answer will do.
pub(super) async fn ping(peer: &Peer<RoleClient>) -> Result<(), ConnectError> {
    match ask(peer, ClientRequest::PingRequest(PingRequest::default())).await {
        Err(error) if !error.refused => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn ask(
    peer: &Peer<RoleClient>,
    request: ClientRequest,
) -> Result<ServerResult, ConnectError> {
    let options = PeerRequestOptions::no_options();
    let handle = peer.send_cancellable_request(request, options).await?;
    Ok(handle.await_response().await?)
}
