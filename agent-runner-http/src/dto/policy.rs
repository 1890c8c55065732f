//! Tool policies as clients see and send them.

use agent_runner_core::policy::{ApprovalClass, ToolPolicy, ToolRule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What a project or a run lets its agents do. Of two policies, the stricter one counts.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Names and patterns such as `files.*` of tools that may be called; all when absent.
    allow: Option<Vec<String>>,
    /// Names and patterns of tools that may not be called, whatever else is said.
    deny: Vec<String>,
    /// What is said of particular tools.
    rules: Vec<Rule>,
    /// When calls need approval that no rule speaks of.
    approval: Class,
    /// Most tool calls of one run.
    calls_max: Option<u32>,
    /// Nobody is there to approve: what would need approval is denied at once.
    unattended: bool,
    /// Seconds after which an approval that nobody gave is denied; 86,400 when absent.
    approval_seconds: Option<u64>,
}

/// What is said of particular tools.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Name or pattern such as `git.*`.
    tool: String,
    /// JSON Schema that the arguments must fit, besides the tool's own.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    arguments: Option<Value>,
    /// When a call needs approval.
    #[serde(default)]
    approval: Option<Class>,
    /// Most calls in one run.
    #[serde(default)]
    calls_max: Option<u32>,
}

/// When a call needs a person's approval.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Class {
    /// Never.
    Never,
    /// When the run has read what nobody in charge wrote, and the call destroys or acts outside.
    #[default]
    Untrusted,
    /// Always.
    Always,
}

impl From<ApprovalClass> for Class {
    fn from(core: ApprovalClass) -> Self {
        match core {
            ApprovalClass::Never => Self::Never,
            ApprovalClass::Untrusted => Self::Untrusted,
            ApprovalClass::Always => Self::Always,
        }
    }
}

impl From<Class> for ApprovalClass {
    fn from(dto: Class) -> Self {
        match dto {
            Class::Never => Self::Never,
            Class::Untrusted => Self::Untrusted,
            Class::Always => Self::Always,
        }
    }
}

impl From<ToolPolicy> for Policy {
    fn from(core: ToolPolicy) -> Self {
        let rules = core.rules.into_iter().map(|rule| Rule {
            tool: rule.tool,
            arguments: rule.arguments,
            approval: rule.approval.map(Class::from),
            calls_max: rule.calls_max,
        });
        Self {
            allow: core.allow,
            deny: core.deny,
            rules: rules.collect(),
            approval: core.approval.into(),
            calls_max: core.calls_max,
            unattended: core.unattended,
            approval_seconds: core.approval_seconds,
        }
    }
}

impl From<Policy> for ToolPolicy {
    fn from(dto: Policy) -> Self {
        let rules = dto.rules.into_iter().map(|rule| {
            let mut core = ToolRule::default();
            core.tool = rule.tool;
            core.arguments = rule.arguments;
            core.approval = rule.approval.map(ApprovalClass::from);
            core.calls_max = rule.calls_max;
            core
        });
        let mut core = Self::default();
        core.allow = dto.allow;
        core.deny = dto.deny;
        core.rules = rules.collect();
        core.approval = dto.approval.into();
        core.calls_max = dto.calls_max;
        core.unattended = dto.unattended;
        core.approval_seconds = dto.approval_seconds;
        core
    }
}
