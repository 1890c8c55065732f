//! What a client sends to go on from another run.

use std::{collections::BTreeMap, time::Duration};

use agent_runner_core::{engine, run};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{budget::Budget, run::Reasoning};
use crate::extract::object;

/// Limits and sampling; what is missing stays as it was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedOptions {
    /// Most seconds from now to the end.
    timeout_seconds: Option<u64>,
    /// Most model calls, those before the fork included.
    max_steps: Option<u32>,
    /// Sampling temperature, 0 to 2.
    temperature: Option<f32>,
    /// Most tokens of one reply.
    max_output_tokens: Option<u32>,
    /// How much the model reasons, where it can.
    reasoning: Option<Reasoning>,
    /// Most that the new run may spend; what the other one spent does not count.
    budget: Option<Budget>,
}

/// A request that changes what another run was asked for.
macro_rules! changes {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$fdoc])* $field: $ty,)?
            /// What the agent is to do.
            goal: Option<String>,
            /// What the workflow gets.
            inputs: Option<Value>,
            /// A name for people.
            name: Option<String>,
            /// The model, `provider/model`.
            model: Option<String>,
            /// The system prompt.
            instructions: Option<String>,
            /// Names of tools and patterns such as `files.*`.
            tools: Option<Vec<String>>,
            /// Limits and sampling.
            #[serde(default, deserialize_with = "object")]
            options: ChangedOptions,
            /// The caller's own data.
            metadata: Option<BTreeMap<String, Value>>,
            /// Labels for filters.
            tags: Option<Vec<String>>,
        }

        impl From<$name> for engine::NewFork {
            fn from(new: $name) -> Self {
                let options = new.options;
                Self {
                    $($field: new.$field,)?
                    goal: new.goal,
                    inputs: new.inputs,
                    name: new.name,
                    model: new.model,
                    instructions: new.instructions,
                    tools: new.tools,
                    temperature: options.temperature,
                    max_output_tokens: options.max_output_tokens,
                    max_steps: options.max_steps,
                    timeout: options.timeout_seconds.map(Duration::from_secs),
                    reasoning: options.reasoning.map(Into::into),
                    budget: options.budget.map(Into::into),
                    tags: new.tags,
                    metadata: new.metadata,
                    ..Self::default()
                }
            }
        }
    };
}

changes! {
    /// A run that goes on from some moment of another one. What is missing is as it was there.
    NewFork {
        /// The other run's event after which to go on; the last one after which something was left to be
        /// done when missing.
        event: Option<u64>
    }
}

changes! {
    /// A run that is started anew. What is missing is as it was.
    NewRerun {}
}

/// Where a run was forked from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForkedFrom {
    /// The run.
    #[schema(format = Uuid)]
    run_id: String,
    /// Its event after which this run went on; 1 for a rerun.
    event: u64,
}

impl From<run::ForkedFrom> for ForkedFrom {
    fn from(from: run::ForkedFrom) -> Self {
        Self { run_id: from.run.to_string(), event: from.event }
    }
}

/// Where an imported run comes from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportedFrom {
    /// Its id there.
    #[schema(format = Uuid)]
    run_id: String,
    /// SHA-256 of the bundle without its last line.
    sha256: String,
}

impl From<run::ImportedFrom> for ImportedFrom {
    fn from(from: run::ImportedFrom) -> Self {
        Self { run_id: from.run.to_string(), sha256: from.sha256 }
    }
}
