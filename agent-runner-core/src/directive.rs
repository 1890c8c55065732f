//! A directive: what somebody asks of a run. Intent, not state.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::StepKey;

/// When a message to a run takes effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DirectiveMode {
    /// With the next model call.
    #[default]
    NextStep,
    /// At once: a model call in flight is dropped and made again with the message.
    Interrupt,
}

/// What somebody asks of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Directive {
    /// Stop at the next step boundary.
    Pause,
    /// Go on.
    Resume,
    /// End, for good.
    Cancel {
        /// Why.
        reason: Option<String>,
    },
    /// Read this.
    Message {
        /// The caller's id; a second message with the same id is the first one again.
        id: String,
        /// What to read.
        text: String,
        /// When.
        mode: DirectiveMode,
    },
    /// Something happened that the run may wait for.
    Signal {
        /// The caller's id; a second signal with the same id is the first one again.
        id: String,
        /// Which signal.
        name: String,
        /// What came with it.
        payload: Value,
    },
    /// This is what became of a step whose outcome is unknown.
    Resolve {
        /// Which step.
        step: StepKey,
        /// What became of it.
        resolution: Resolution,
    },
}

/// A person's word on a step whose outcome is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resolution {
    /// It did not happen, or doing it again does no harm: run it again with the same key.
    Retry,
    /// It happened, with this output.
    Succeeded {
        /// The output that the model gets.
        #[serde(default)]
        output: Value,
    },
    /// It did not happen and is not to be tried again; the model is told.
    Failed {
        /// What the model is told.
        #[serde(default)]
        message: Option<String>,
    },
}
