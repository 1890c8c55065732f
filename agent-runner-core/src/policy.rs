//! Tool policy: which tools, with which arguments, how often, after whose approval. Data, decided
//! by a pure function before a call is performed.

mod verdict;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::verdict::matches;
pub use self::verdict::{Asked, Verdict};

/// When a call needs a person's approval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each class is a branch of the decision")]
pub enum ApprovalClass {
    /// Never.
    Never,
    /// When the run has read what nobody in charge wrote, and the call destroys or acts outside.
    #[default]
    Untrusted,
    /// Always.
    Always,
}

/// What a project or a run lets its agents do. Of two policies, the stricter one counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolPolicy {
    /// Names and patterns such as `files.*` of tools that may be called; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Names and patterns of tools that may not be called, whatever else is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// What is said of particular tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ToolRule>,
    /// When calls need approval that no rule speaks of.
    pub approval: ApprovalClass,
    /// Most tool calls of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_max: Option<u32>,
    /// Nobody is there to approve: what would need approval is denied at once.
    pub unattended: bool,
    /// Seconds after which an approval that nobody gave is denied; 24 hours when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_seconds: Option<u64>,
}

/// What is said of particular tools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolRule {
    /// Name or pattern such as `git.*`.
    pub tool: String,
    /// JSON Schema that the arguments must fit, besides the tool's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// When a call needs approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalClass>,
    /// Most calls in one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_max: Option<u32>,
}

/// How long an approval waits unless a policy says otherwise.
pub const APPROVAL_TTL: SignedDuration = SignedDuration::from_hours(24);
