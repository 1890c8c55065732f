//! A tool of your own: typed arguments, a schema from their doc comments, and a declared policy
//! for the case that the program dies between the effect and its record. A crate that offers tools
//! depends on `agent-runner-core` alone, and runs its contract suite (`testing::tool_contract`).
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_runner::providers::ScriptedProvider;
use agent_runner_core::{
    agent::ModelName,
    engine::{Engine, NewRun},
    store::InMemoryStore,
    tool::{EffectPolicy, ToolCx, ToolError, ToolErrorKind, Typed, TypedTool},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Notes by the idempotency key of the call that wrote them.
type Notes = Arc<Mutex<BTreeMap<String, String>>>;

/// Writes notes down.
#[derive(Debug)]
struct AddNote {
    notes: Notes,
}

/// What the model has to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddNoteArgs {
    /// The note, one line.
    text: String,
}

impl TypedTool for AddNote {
    const NAME: &'static str = "notes.add";
    // Called again with the same key it has the effect of one call, so the engine may repeat it
    // without asking anybody.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = AddNoteArgs;
    type Output = String;

    fn description(&self) -> Cow<'_, str> {
        "Writes one note down.".into()
    }

    async fn run(&self, args: AddNoteArgs, cx: &ToolCx) -> Result<String, ToolError> {
        if args.text.contains('\n') {
            // The model reads this and can do better.
            let said = "a note is one line; call again for each line";
            return Err(ToolError::new(ToolErrorKind::InvalidArgs, said));
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.entry(cx.idempotency_key.clone()).or_insert(args.text);
        Ok(format!("There are {} notes now.", notes.len()))
    }
}

/// Stands in for a model: calls the tool wrongly, then rightly, then answers.
const SCRIPT: &str = r#"
models:
  secretary:
    turns:
      - tool_calls: [{name: notes.add, arguments: {text: "milk\nbread"}}]
      - tool_calls:
          - {name: notes.add, arguments: {text: milk}}
          - {name: notes.add, arguments: {text: bread}}
      - text: "Noted. {{last_result}}"
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let notes = Notes::default();
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .provider(ScriptedProvider::from_yaml(SCRIPT)?)
        .default_model(ModelName::new("scripted", "secretary"))
        .tool(Typed::new(AddNote { notes: Arc::clone(&notes) }))
        .build()?;
    let working = engine.start();
    let run = engine.create_run(NewRun::new("Note: milk and bread")).await?.run;
    let run = engine.join(run.id, Duration::from_secs(10)).await?;
    for step in engine.steps(run.id).await? {
        println!("{:<16} {:<18} {:?}", step.key.as_str(), step.name, step.status);
    }
    println!("{}: {}", run.status, run.output.unwrap_or_default());
    println!("{:?}", notes.lock().unwrap_or_else(PoisonError::into_inner).values());
    working.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
