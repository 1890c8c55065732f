//! What the engine may believe of a tool.

use agent_runner_core::tool::{EffectPolicy, Risk};
use rmcp::model::ToolAnnotations;

/// What happens when a call's outcome is unknown, and the harm that a call can do.
///
/// Annotations are what a stranger says of itself: without the operator's trust every tool may
/// act outside, and no call is repeated. With it:
/// - what only reads is repeated; it is a `Read` when its world is closed, and stays `Outward`
///   when it is open (which is the protocol's default), for a question to strangers can carry
///   out what a run has read;
/// - what says that a second call changes nothing more is repeated.
///
/// What writes stays `Outward`: it writes at the server, not in the project.
pub(super) fn believed(annotations: Option<&ToolAnnotations>, trust: bool) -> (EffectPolicy, Risk) {
    let Some(says) = annotations.filter(|_| trust) else {
        return (EffectPolicy::AtMostOnce, Risk::Outward);
    };
    if says.read_only_hint == Some(true) {
        let closed = says.open_world_hint == Some(false);
        return (EffectPolicy::Pure, if closed { Risk::Read } else { Risk::Outward });
    }
    let policy =
        if says.is_idempotent() { EffectPolicy::Idempotent } else { EffectPolicy::AtMostOnce };
    (policy, Risk::Outward)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_count_only_when_the_operator_trusts_them() {
        let says = |read, destructive, idempotent, open| {
            ToolAnnotations::from_raw(None, read, destructive, idempotent, open)
        };
        let (yes, no) = (Some(true), Some(false));
        let careful = (EffectPolicy::AtMostOnce, Risk::Outward);
        for (annotations, believed_as) in [
            (None, careful),
            (Some(says(None, None, None, None)), careful),
            (Some(says(no, no, no, no)), careful),
            (Some(says(yes, None, None, no)), (EffectPolicy::Pure, Risk::Read)),
            (Some(says(yes, yes, yes, yes)), (EffectPolicy::Pure, Risk::Outward)),
            (Some(says(yes, None, None, None)), (EffectPolicy::Pure, Risk::Outward)),
            (Some(says(None, None, yes, no)), (EffectPolicy::Idempotent, Risk::Outward)),
        ] {
            assert_eq!(believed(annotations.as_ref(), true), believed_as, "{annotations:?}");
            assert_eq!(believed(annotations.as_ref(), false), careful, "{annotations:?}");
        }
    }
}
