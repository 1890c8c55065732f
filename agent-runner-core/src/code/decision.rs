//! What the code of a workflow decides, as its journal keeps it and as people read it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CallKind;
use crate::{event::quote, id::StepKey, step::EffectPolicy};

/// A value that the code would not get a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordKind {
    /// The time.
    Now,
    /// A random number.
    Random,
    /// A new id.
    Uuid,
    /// Which path of a patch it takes.
    Patched,
}

impl RecordKind {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Random => "random",
            Self::Uuid => "uuid",
            Self::Patched => "patched",
        }
    }
}

/// A call as it is compared: two calls are the same when all of this is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Called {
    /// The step that does it.
    pub step: StepKey,
    /// What it is.
    pub call: CallKind,
    /// The function, tool, model or signal.
    pub name: String,
    /// The policy of a function.
    pub policy: Option<EffectPolicy>,
    /// SHA-256 of its input, lower-case hex.
    pub input_sha256: String,
    /// The beginning of its input, for people.
    pub shown: String,
}

impl PartialEq for Called {
    fn eq(&self, other: &Self) -> bool {
        self.step == other.step
            && self.call == other.call
            && self.name == other.name
            && self.policy == other.policy
            && self.input_sha256 == other.input_sha256
    }
}

impl Called {
    pub(crate) fn new(
        step: StepKey,
        (call, name): (CallKind, String),
        policy: Option<EffectPolicy>,
        (input, input_sha256): (&Value, String),
    ) -> Self {
        let shown = quote(&input.to_string());
        Self { step, call, name, policy, input_sha256, shown }
    }
}

/// What the code decided. The order of its decisions is part of what is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// To call for something.
    Called(Called),
    /// To use a value that is not the same twice.
    Recorded {
        /// What it asked for.
        what: RecordKind,
        /// The id of a patch.
        name: Option<String>,
        /// What it got.
        value: Value,
    },
    /// Not to wait for a call any more.
    Dropped {
        /// The step of the call.
        step: StepKey,
    },
    /// To end.
    Finished {
        /// What it returned.
        output: Option<Value>,
        /// Why it failed.
        error: Option<String>,
    },
}

impl Decision {
    /// Whether it is the same decision; the value that was recorded does not matter.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Recorded { what, name, .. },
                Self::Recorded { what: other, name: others, .. },
            ) => what == other && name == others,
            (one, other) => one == other,
        }
    }

    /// Whether it is the mark of a patch.
    #[must_use]
    pub const fn is_patch(&self) -> bool {
        matches!(self, Self::Recorded { what: RecordKind::Patched, .. })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called(Called { step, call, name, policy, input_sha256, shown }) => {
                write!(f, "step `{step}`: {} `{name}`", call.as_str())?;
                if let Some(policy) = policy {
                    write!(f, " ({})", policy.as_str())?;
                }
                let hash = input_sha256.get(..8).unwrap_or_default();
                write!(f, " with {shown} [{hash}]")
            }
            Self::Recorded { what, name: Some(name), .. } => {
                write!(f, "{}({})", what.as_str(), quote(name))
            }
            Self::Recorded { what, name: None, .. } => write!(f, "{}()", what.as_str()),
            Self::Dropped { step } => write!(f, "step `{step}` is not waited for any more"),
            Self::Finished { error: Some(error), .. } => {
                write!(f, "the end, with the error {}", quote(error))
            }
            Self::Finished { output, .. } => {
                let output = output.as_ref().unwrap_or(&Value::Null);
                write!(f, "the end, with {}", quote(&output.to_string()))
            }
        }
    }
}

/// How the code of a workflow differs from what the journal says that it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("at decision {decision} the journal says: {journal}; the code says: {code}. {advice}")]
#[non_exhaustive]
pub struct Difference {
    /// Which of the code's decisions, from 1.
    pub decision: u64,
    /// What it decided then.
    pub journal: String,
    /// What it decides now.
    pub code: String,
    /// What to do.
    pub advice: String,
}

impl Difference {
    const CHANGED: &'static str = "Put the code back as it was and resume the run, or keep the old \
                                   path for old runs with `ctx.patched`";

    /// A change of the code.
    pub(crate) fn changed(decision: u64, journal: String, code: String) -> Self {
        Self { decision, journal, code, advice: Self::CHANGED.to_owned() }
    }

    /// Another cause.
    pub(crate) fn because(decision: u64, journal: String, code: String, advice: &str) -> Self {
        Self { decision, journal, code, advice: advice.to_owned() }
    }
}
