//! Why the model stopped.

use agent_runner_core::llm::{ErrorKind, StopReason};

/// The reason of a reply that stopped halfway and can go on.
pub(super) const CONTINUATION: &str = "CONTINUATION";
/// Most bytes of what a service says about why it stopped.
const DETAIL_BYTES_MAX: usize = 1024;

/// What a reason to stop amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It is none.
    NotYet,
    /// There is a reply.
    Stopped(StopReason),
    /// There is no reply that could be used.
    Failed(ErrorKind),
}

/// What `finishReason` means.
pub(super) fn finish(reason: &str) -> Finish {
    Finish::Stopped(match reason {
        "" | "FINISH_REASON_UNSPECIFIED" => return Finish::NotYet,
        "STOP" => StopReason::EndTurn,
        "MAX_TOKENS" => StopReason::MaxTokens,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "ESCALATION"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => StopReason::ContentFilter,
        // The model meant to call a tool and did not manage to: what it said before that is no
        // answer, and another try may do better.
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
            return Finish::Failed(ErrorKind::MalformedResponse);
        }
        "PUP_LIMITED_DISABLED" => return Finish::Failed(ErrorKind::PermissionDenied),
        // The same conversation would fail again.
        "MISSING_THOUGHT_SIGNATURE" => return Finish::Failed(ErrorKind::InvalidRequest),
        other => StopReason::Other(other.to_owned()),
    })
}

/// A reason with the service's own words about it, cut to size.
pub(super) fn detail(reason: &str, message: Option<&str>) -> String {
    let mut detail = match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_meaning_and_an_unknown_one_is_no_failure() {
        let stopped = Finish::Stopped;
        let table = [
            ("", Finish::NotYet),
            ("FINISH_REASON_UNSPECIFIED", Finish::NotYet),
            ("STOP", stopped(StopReason::EndTurn)),
            ("MAX_TOKENS", stopped(StopReason::MaxTokens)),
            ("SAFETY", stopped(StopReason::ContentFilter)),
            ("RECITATION", stopped(StopReason::ContentFilter)),
            ("LANGUAGE", stopped(StopReason::ContentFilter)),
            ("BLOCKLIST", stopped(StopReason::ContentFilter)),
            ("PROHIBITED_CONTENT", stopped(StopReason::ContentFilter)),
            ("SPII", stopped(StopReason::ContentFilter)),
            ("ESCALATION", stopped(StopReason::ContentFilter)),
            ("IMAGE_SAFETY", stopped(StopReason::ContentFilter)),
            ("PUP_LIMITED_DISABLED", Finish::Failed(ErrorKind::PermissionDenied)),
            ("MALFORMED_FUNCTION_CALL", Finish::Failed(ErrorKind::MalformedResponse)),
            ("UNEXPECTED_TOOL_CALL", Finish::Failed(ErrorKind::MalformedResponse)),
            ("MALFORMED_RESPONSE", Finish::Failed(ErrorKind::MalformedResponse)),
            ("MISSING_THOUGHT_SIGNATURE", Finish::Failed(ErrorKind::InvalidRequest)),
            ("TOO_MANY_TOOL_CALLS", stopped(StopReason::Other("TOO_MANY_TOOL_CALLS".into()))),
            ("CONTINUATION", stopped(StopReason::Other("CONTINUATION".into()))),
            ("OTHER", stopped(StopReason::Other("OTHER".into()))),
            ("NEW_IN_2027", stopped(StopReason::Other("NEW_IN_2027".into()))),
        ];
        for (reason, expected) in table {
            assert_eq!(finish(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_detail_is_cut_at_a_character() {
        assert_eq!(detail("SAFETY", None), "SAFETY");
        assert_eq!(detail("SAFETY", Some("no")), "SAFETY: no");
        assert!(detail("SAFETY", Some(&"ä".repeat(2000))).len() <= DETAIL_BYTES_MAX);
    }
}
