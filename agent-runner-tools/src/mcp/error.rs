//! What went wrong with a server, for models and for people. Nothing here repeats an address, a
//! header or an environment; what the server says is cleaned and bounded.

use std::{error::Error, io, time::Duration};

use agent_runner_core::tool::{ToolError, ToolErrorKind as Kind};
use rmcp::{
    ServiceError,
    model::{ErrorCode, ErrorData},
    service::ClientInitializeError,
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};

use super::{http::HttpFault, text};

/// The code under which our own reader reports an answer that is too large.
pub(super) const TOO_LARGE: ErrorCode = ErrorCode(-32_098);
/// Most that is repeated of what a server says of an error, in bytes.
const SAID_BYTES_MAX: usize = 1_000;

type HttpError = StreamableHttpError<HttpFault>;

/// An error of a call, and whether the connection may be to blame.
pub(super) fn of_call(error: ServiceError, server: &str) -> (ToolError, bool) {
    match error {
        ServiceError::McpError(said) => (of_answer(&said, server), false),
        ServiceError::TransportSend(error) => {
            let fault = error.error.downcast_ref();
            (of_transport(fault, server), !is_alive(fault))
        }
        ServiceError::UnexpectedResponse => {
            let told = format!("the MCP server `{server}` answered something else than a result");
            (ToolError::new(Kind::Internal, told).may_have_run(), false)
        }
        _ => {
            let told = format!("the connection to the MCP server `{server}` broke during the call");
            (ToolError::new(Kind::Network, told).may_have_run(), true)
        }
    }
}

/// What the server answered instead of a result. An answer to malformed or unknown requests says
/// that nothing ran. Any other may have come in the middle, and its words are left out: of a call
/// whose outcome is unknown they would be told where nobody knows whose they are.
fn of_answer(said: &ErrorData, server: &str) -> ToolError {
    let words = text::line(&said.message, SAID_BYTES_MAX);
    let (kind, what) = match said.code {
        TOO_LARGE => {
            let told = format!("the MCP server `{server}` answered too much; ask for less");
            return ToolError::new(Kind::TooLarge, told).may_have_run();
        }
        ErrorCode::INVALID_PARAMS | ErrorCode::INVALID_REQUEST | ErrorCode::PARSE_ERROR => {
            (Kind::InvalidArgs, "refuses the arguments")
        }
        ErrorCode::METHOD_NOT_FOUND | ErrorCode::RESOURCE_NOT_FOUND => {
            (Kind::NotFound, "does not have that")
        }
        ErrorCode(code) => {
            let told = format!("the MCP server `{server}` failed with the error {code}");
            return ToolError::new(Kind::Internal, told).may_have_run().with_code("mcp_error");
        }
    };
    ToolError::new(kind, format!("the MCP server `{server}` {what}: {words}"))
        .with_code("mcp_error")
        .untrusted(format!("mcp:{server}"))
}

/// Whether a failed request shows that the server and its session are there.
fn is_alive(fault: Option<&HttpError>) -> bool {
    match fault {
        Some(StreamableHttpError::HttpStatus(said)) => !matches!(said.status, 401 | 403),
        Some(StreamableHttpError::ResponseBodyTooLarge { .. }) => true,
        _ => false,
    }
}

fn of_transport(fault: Option<&HttpError>, server: &str) -> ToolError {
    use StreamableHttpError as E;
    let new = |kind, what: &str| ToolError::new(kind, format!("the MCP server `{server}` {what}"));
    let broke = || new(Kind::Network, "could not be reached, or did not answer").may_have_run();
    match fault {
        Some(E::Client(HttpFault::Connect)) => {
            new(Kind::Network, "cannot be reached; nothing was sent")
        }
        Some(E::SessionExpired) => {
            new(Kind::Network, "has forgotten the session; nothing was done, and a new one begins")
        }
        Some(E::ResponseBodyTooLarge { .. }) => {
            new(Kind::TooLarge, "answered too much; ask for less").may_have_run()
        }
        Some(E::HttpStatus(status)) => match status.status {
            401 | 403 => new(Kind::Denied, "does not accept the credentials that it was given"),
            429 => {
                let wait = status.retry_after.as_ref().and_then(|wait| wait.trim().parse().ok());
                let error = new(Kind::RateLimited, "asks to be called less often");
                wait.map(Duration::from_secs).into_iter().fold(error, ToolError::with_retry_after)
            }
            400..=499 => new(Kind::Internal, &format!("refuses the request ({})", status.status)),
            _ => broke(),
        },
        _ => broke(),
    }
}

/// Why no connection came about, for people.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) why: String,
    /// Whether the server is there, and only refuses.
    pub(super) refused: bool,
}

impl ConnectError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), refused: false }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        // The error's own text may hold the path of the program.
        Self::new(format!("the program could not be started: {}", error.kind()))
    }
}

impl From<ClientInitializeError> for ConnectError {
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::TransportError { error, .. } => transport(&error),
            ClientInitializeError::ConnectionClosed(_) => {
                Self::new("the server closed the connection before it was initialized")
            }
            ClientInitializeError::JsonRpcError(said) => refused(&said),
            ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
                Self::new("the server speaks no version of the protocol that is known here")
            }
            ClientInitializeError::Cancelled => Self::new("the connection was given up"),
            _ => Self::new("the server does not speak the protocol"),
        }
    }
}

impl From<ServiceError> for ConnectError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(said) => refused(&said),
            ServiceError::TransportSend(error) => transport(&error),
            ServiceError::Timeout { .. } => Self::new("the server does not answer"),
            ServiceError::TransportClosed => Self::new("the server closed the connection"),
            _ => Self::new("the server does not speak the protocol"),
        }
    }
}

fn refused(said: &ErrorData) -> ConnectError {
    let words = text::line(&said.message, SAID_BYTES_MAX);
    let why = format!("the server refused ({}): {words}", said.code.0);
    ConnectError { why, refused: true }
}

fn transport(error: &DynamicTransportError) -> ConnectError {
    let error: &(dyn Error + 'static) = &*error.error;
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return ConnectError::new(format!("the server does not read: {}", error.kind()));
    }
    // Made to tell nothing private by the HTTP client.
    match error.downcast_ref::<HttpError>() {
        Some(StreamableHttpError::HttpStatus(status)) if matches!(status.status, 401 | 403) => {
            ConnectError::new(format!(
                "the server does not accept the credentials ({})",
                status.status
            ))
        }
        Some(error) => ConnectError::new(error.to_string()),
        None => ConnectError::new("the connection failed"),
    }
}
