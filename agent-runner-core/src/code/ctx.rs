//! What the code of a workflow has of the world.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    AgentTask, Call, CallError, CallKind, Desk, Prompt, RecordKind, StepCx, StepFailure, Work,
    call::{Read, typed},
    desk::Wanted,
    work::work,
};
use crate::{approval::sha256_of, id::RunId, id::StepKey, step::EffectPolicy};

/// Everything that the code of a workflow may do that is not arithmetic. Each call has a key, its name
/// within the run: the second call of the same key is `key.2`, and so on.
///
/// A call is made when its method is called, not when it is awaited: calls made one after the other go on
/// side by side until they are awaited.
#[derive(Clone)]
pub struct Ctx {
    desk: Arc<Desk>,
    run_id: RunId,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

impl Ctx {
    pub(crate) const fn new(desk: Arc<Desk>, run_id: RunId) -> Self {
        Self { desk, run_id }
    }

    /// The run.
    #[must_use]
    pub const fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Has the engine perform a function of this program, which gets `input` and nothing else: what is
    /// compared after a change of the code is what the function works with. Its output is in the
    /// journal and the function is not called again for this call, unless its outcome is unknown
    /// and `policy` lets it.
    ///
    /// # Errors
    /// `Failed` with what the function says; `OutcomeUnknown` for a policy that forbids to call it again.
    pub fn step<I, O, F, Fut>(
        &self,
        key: &str,
        policy: EffectPolicy,
        input: I,
        function: F,
    ) -> Call<O>
    where
        I: Serialize + DeserializeOwned + Send + 'static,
        O: Serialize + DeserializeOwned,
        F: Fn(I, StepCx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, StepFailure>> + Send + 'static,
    {
        let kind = CallKind::Function;
        let wanted = to_json(input).map(|input| Wanted {
            key,
            call: kind,
            name: key,
            policy: Some(policy),
            input,
        });
        self.make(wanted, Some(work(function)), typed)
    }

    /// Calls a tool of the engine, with the policies and approvals that hold for the run.
    ///
    /// # Errors
    /// `Denied`; `OutcomeUnknown`; `Failed` with the tool's kind of error as its code.
    pub fn tool(&self, key: &str, tool: &str, arguments: impl Serialize) -> Call<Value> {
        let wanted = to_json(arguments).map(|input| Wanted {
            key,
            call: CallKind::Tool,
            name: tool,
            policy: None,
            input,
        });
        self.make(wanted, None, Ok)
    }

    /// Asks a model, once, and gives its answer as a text. Budgets, prices and retries are those of an
    /// agent's calls.
    ///
    /// # Errors
    /// `Failed` with the provider's kind of error as its code, `refused`, or `invalid_output`.
    pub fn llm(&self, key: &str, prompt: impl Into<Prompt>) -> Call<String> {
        self.ask_model(key, prompt.into())
    }

    /// Asks a model for something that fits a JSON Schema.
    ///
    /// # Errors
    /// As [`Self::llm`]; `invalid_output` when the answer does not fit the schema, `decode` when it does not
    /// fit `T`.
    pub fn llm_as<T: DeserializeOwned>(
        &self,
        key: &str,
        prompt: impl Into<Prompt>,
        schema: &Value,
    ) -> Call<T> {
        self.ask_model(key, Prompt { output_schema: Some(schema.clone()), ..prompt.into() })
    }

    fn ask_model<T: DeserializeOwned>(&self, key: &str, prompt: Prompt) -> Call<T> {
        let name = prompt.model.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
        let wanted = to_json(prompt).map(|input| Wanted {
            key,
            call: CallKind::Model,
            name: &name,
            policy: None,
            input,
        });
        self.make(wanted, None, typed)
    }

    /// Hands a task to an agent, which works on it as a run of its own, and gives its answer: a text, or
    /// what its schema says. It has at most the run's tools, time and budget. Without a worker.
    ///
    /// # Errors
    /// `Failed` with what the agent's run failed of; `Canceled` when somebody canceled it.
    pub fn agent<T: DeserializeOwned>(&self, key: &str, task: impl Into<AgentTask>) -> Call<T> {
        let wanted = to_json(task.into()).map(|input| Wanted {
            key,
            call: CallKind::Agent,
            name: "assistant",
            policy: None,
            input,
        });
        self.make(wanted, None, typed)
    }

    /// Runs another workflow of this program, in its highest version, as a run of its own, and gives
    /// its output. Without a worker.
    ///
    /// # Errors
    /// As [`Self::agent`].
    pub fn child<T: DeserializeOwned>(
        &self,
        key: &str,
        workflow: &str,
        input: impl Serialize,
    ) -> Call<T> {
        let wanted = to_json(input).map(|input| Wanted {
            key,
            call: CallKind::Child,
            name: workflow,
            policy: None,
            input,
        });
        self.make(wanted, None, typed)
    }

    /// Waits, without a worker.
    ///
    /// # Errors
    /// Only if the key is not usable.
    pub fn sleep(&self, key: &str, duration: Duration) -> Call<()> {
        let input = json!({"milliseconds": millis(duration)});
        let wanted = Wanted { key, call: CallKind::Sleep, name: "sleep", policy: None, input };
        self.make(Ok(wanted), None, |_| Ok(()))
    }

    /// Waits for a signal of that name and takes its payload; one that came before counts. Without a
    /// worker, for as long as it takes.
    ///
    /// # Errors
    /// `Failed` with the code `decode` for a payload that does not fit `T`.
    pub fn wait_for<T: DeserializeOwned>(&self, key: &str, signal: &str) -> Call<T> {
        self.make(signalled(key, signal, json!({"signal": signal})), None, payload)
    }

    /// Waits for a signal like [`Self::wait_for`], at most so long: `None` when it did not come.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_for_within<T: DeserializeOwned>(
        &self,
        key: &str,
        signal: &str,
        most: Duration,
    ) -> Call<Option<T>> {
        let input = json!({"signal": signal, "milliseconds": millis(most)});
        self.make(signalled(key, signal, input), None, |output| match output.get("signal") {
            Some(Value::String(_)) => payload(output).map(Some),
            _ => Ok(None),
        })
    }

    /// Asks a person, who answers with a text (`POST /approvals/{id}/decide`). Without a worker.
    ///
    /// # Errors
    /// `Denied` when the person does not want to answer, or nobody did in time.
    pub fn ask_human(&self, key: &str, question: &str) -> Call<String> {
        self.ask(key, json!({"question": question}))
    }

    /// Asks a person for something that fits a JSON Schema.
    ///
    /// # Errors
    /// As [`Self::ask_human`]; `Failed` with the code `decode` for an answer that does not fit `T`.
    pub fn ask_human_for<T: DeserializeOwned>(
        &self,
        key: &str,
        question: &str,
        schema: &Value,
    ) -> Call<T> {
        self.ask(key, json!({"question": question, "schema": schema}))
    }

    fn ask<T: DeserializeOwned>(&self, key: &str, input: Value) -> Call<T> {
        let call = CallKind::Question;
        self.make(Ok(Wanted { key, call, name: "person", policy: None, input }), None, typed)
    }

    /// The time, the same whenever the code runs again.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = self.desk.record(RecordKind::Now, |desk| json!(desk.clock.now()));
        serde_json::from_value(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A random number, the same whenever the code runs again.
    #[must_use]
    pub fn random(&self) -> u64 {
        let number = self.desk.record(RecordKind::Random, |desk| {
            // Not all bits of an id are random; those of its hash are as good as the id's.
            let hash = sha256_of(&desk.ids.next().to_string());
            json!(hash.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()))
        });
        number.as_u64().unwrap_or_default()
    }

    /// A new id, the same whenever the code runs again.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let id = self.desk.record(RecordKind::Uuid, |desk| json!(desk.ids.next().to_string()));
        id.as_str().and_then(|id| Uuid::parse_str(id).ok()).unwrap_or_default()
    }

    /// Whether to take the new path of a change: `false` for a run that went past this place before the
    /// change. Once no such run is left the call and the old path can go.
    #[must_use]
    pub fn patched(&self, id: &str) -> bool {
        self.desk.patched(id)
    }

    fn make<T>(
        &self,
        wanted: Result<Wanted<'_>, CallError>,
        work: Option<Work>,
        read: Read<T>,
    ) -> Call<T> {
        let made: Result<Option<StepKey>, CallError> =
            wanted.and_then(|wanted| self.desk.call(wanted, work));
        Call::made(Arc::clone(&self.desk), made, read)
    }
}

fn to_json(input: impl Serialize) -> Result<Value, CallError> {
    serde_json::to_value(input)
        .map_err(|error| CallError::failed("input", format!("the input is no JSON: {error}")))
}

fn signalled<'a>(key: &'a str, signal: &'a str, input: Value) -> Result<Wanted<'a>, CallError> {
    if signal.is_empty() || signal.len() > 200 || signal.chars().any(char::is_control) {
        let said = "the name of a signal has 1 to 200 printable characters";
        return Err(CallError::failed("signal", said));
    }
    Ok(Wanted { key, call: CallKind::Signal, name: signal, policy: None, input })
}

/// What came with a signal.
fn payload<T: DeserializeOwned>(mut output: Value) -> Result<T, CallError> {
    typed(output.get_mut("payload").map(Value::take).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
