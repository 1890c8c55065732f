//! Code that does what its input says: so a seed chooses what it calls, and the same input leads to the same
//! calls.

use std::time::Duration;

use agent_runner_core::{
    code::{CallError, Ctx, Prompt, StepCx, StepFailure},
    engine::{EngineBuilder, NewRun},
    step::EffectPolicy,
    tool::ToolError,
};
use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{chance::Chance, tools::Hand};

/// Its name as a workflow.
const ERRAND: &str = "errand";

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Task {
    Step(EffectPolicy),
    Tool(EffectPolicy),
    Model,
    Sleep(u64),
    Signal(Option<u64>),
    Agent,
    Child(Errand),
}

/// What an errand consists of: calls that are made at once, one after another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Errand(Vec<Vec<Task>>);

impl Errand {
    fn new(chance: &Chance, depth: u64) -> Self {
        let policy = || EffectPolicy::ALL[chance.index(EffectPolicy::ALL.len())];
        let task = || match chance.below(12) {
            0..=3 => Task::Step(policy()),
            4 | 5 => Task::Tool(policy()),
            6 | 7 => Task::Model,
            8 => Task::Sleep(chance.below(300)),
            9 => Task::Signal(chance.one_in(2).then(|| 60 + chance.below(300))),
            10 if depth > 0 => Task::Agent,
            _ if depth > 0 => Task::Child(Self::new(chance, depth - 1)),
            _ => Task::Step(policy()),
        };
        let calls = |_| (0..=chance.below(3)).map(|_| task()).collect();
        Self((0..=chance.below(3)).map(calls).collect())
    }
}

/// A run of code that does something by chance.
pub(super) fn errand(chance: &Chance) -> NewRun {
    NewRun::workflow(ERRAND, serde_json::to_value(Errand::new(chance, 2)).unwrap())
}

/// The code, for every program of a world.
pub(super) fn with_code(builder: EngineBuilder, hand: &Hand) -> EngineBuilder {
    let hand = hand.clone();
    builder.workflow(ERRAND, 1, move |ctx: Ctx, errand: Errand| perform(ctx, errand, hand.clone()))
}

async fn perform(ctx: Ctx, Errand(stages): Errand, hand: Hand) -> Result<Value, CallError> {
    let (mut said, begun) = (Vec::new(), ctx.now());
    for stage in stages {
        let calls = stage.into_iter().map(|task| call(&ctx, task, &hand));
        // An errand goes on whatever became of a call.
        said.push(
            join_all(calls)
                .await
                .into_iter()
                .map(|end| match end {
                    Ok(output) => output,
                    Err(error) => json!(error.code()),
                })
                .collect::<Vec<_>>(),
        );
    }
    Ok(json!({"said": said, "chance": ctx.random(), "took": ctx.now() >= begun}))
}

fn call(ctx: &Ctx, task: Task, hand: &Hand) -> BoxFuture<'static, Result<Value, CallError>> {
    let within = |seconds| Duration::from_secs(seconds);
    match task {
        Task::Step(policy) => {
            let hand = hand.clone();
            let step = move |(): (), cx: StepCx| {
                let hand = hand.clone();
                async move { hand.act(&cx.idempotency_key).await.map_err(|error| failure(&error)) }
            };
            ctx.step(policy.as_str(), policy, (), step).boxed()
        }
        Task::Tool(policy) => ctx.tool(policy.as_str(), policy.as_str(), json!({})).boxed(),
        Task::Model => {
            let said = ctx.llm("model", Prompt::new("go"));
            said.map(|said| said.map(Value::String)).boxed()
        }
        Task::Sleep(seconds) => {
            ctx.sleep("nap", within(seconds)).map(|slept| slept.map(|()| Value::Null)).boxed()
        }
        Task::Signal(None) => ctx.wait_for("signal", "go").boxed(),
        Task::Signal(Some(seconds)) => {
            let came = ctx.wait_for_within::<Value>("signal", "go", within(seconds));
            came.map(|came| came.map(|payload| json!(payload))).boxed()
        }
        Task::Agent => ctx.agent("agent", "go").boxed(),
        Task::Child(errand) => ctx.child("child", ERRAND, errand).boxed(),
    }
}

fn failure(error: &ToolError) -> StepFailure {
    let failure = StepFailure::new(error).transient();
    if error.effect_possible() { failure.may_have_run() } else { failure }
}
