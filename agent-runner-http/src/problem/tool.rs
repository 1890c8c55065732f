//! Errors of tools as clients see them.

use agent_runner_core::{
    engine::InvokeError,
    tool::{ToolError, ToolErrorKind},
};
use tracing::{error, warn};

use super::{Code, Problem};

/// The code of a tool's error: what it says exactly, else what its kind means.
fn tool_code(error: &ToolError) -> Code {
    let exact = [Code::PathEscape, Code::BlockedTarget, Code::RemoteNotAllowed, Code::EtagMismatch];
    if let Some(code) = exact.into_iter().find(|code| code.as_str() == error.code()) {
        return code;
    }
    match error.kind() {
        ToolErrorKind::InvalidArgs => Code::Validation,
        ToolErrorKind::UnknownTool | ToolErrorKind::NotFound => Code::NotFound,
        ToolErrorKind::Denied => Code::Forbidden,
        ToolErrorKind::Conflict => Code::Conflict,
        ToolErrorKind::RateLimited => Code::RateLimited,
        ToolErrorKind::Network | ToolErrorKind::Indeterminate => Code::UpstreamError,
        ToolErrorKind::Timeout => Code::UpstreamTimeout,
        ToolErrorKind::Cancelled => Code::Overloaded,
        ToolErrorKind::TooLarge => Code::TooLarge,
        ToolErrorKind::NoSpace => Code::Quota,
        // A kind this version does not know is a defect until it gets its row; a test walks all.
        ToolErrorKind::Internal | _ => Code::Internal,
    }
}

impl From<ToolError> for Problem {
    fn from(problem: ToolError) -> Self {
        let cause = std::error::Error::source(&problem).map(ToString::to_string);
        let code = tool_code(&problem);
        match code {
            Code::Internal => {
                error!(error = %problem, cause, "a tool failed inside");
                return Self::internal();
            }
            Code::UpstreamError | Code::UpstreamTimeout | Code::Quota => {
                warn!(error = %problem, cause, "a tool failed");
            }
            _ => {}
        }
        let answer = Self::new(code, problem.for_model());
        match problem.retry_after() {
            Some(wait) => {
                answer.retry_after(u32::try_from(wait.as_secs().max(1)).unwrap_or(u32::MAX))
            }
            None => answer,
        }
    }
}

impl From<InvokeError> for Problem {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Engine(error) => error.into(),
            InvokeError::Tool(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_a_tools_error_has_its_code() {
        for kind in ToolErrorKind::ALL {
            let code = tool_code(&ToolError::new(kind, "no"));
            assert_eq!(code == Code::Internal, kind == ToolErrorKind::Internal, "{kind:?}");
        }
        let exact = ToolError::new(ToolErrorKind::Denied, "no").with_code("path_escape");
        assert_eq!(tool_code(&exact), Code::PathEscape);
    }
}
