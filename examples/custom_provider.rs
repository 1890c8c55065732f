//! A provider of your own: everything an `LlmProvider` has to do, on a model that says the goal
//! backwards. A crate that offers providers depends on `agent-runner-core` alone, as this example
//! does, and runs `provider_conformance!` in its tests (`docs/ADDING_A_PROVIDER.md`).
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    engine::{Engine, NewRun},
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, StopReason, Usage,
    },
    message::{Message, Role},
    store::InMemoryStore,
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};

/// Says everything backwards.
#[derive(Debug)]
struct Mirror;

/// The one model it has.
const MODEL: &str = "backwards";

#[async_trait]
impl LlmProvider for Mirror {
    fn id(&self) -> &str {
        "mirror"
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        // It says that it takes tools so that it is offered them natively, and never calls one.
        Capabilities { tools: Some(true), ..Capabilities::default() }
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(vec![ModelInfo { id: MODEL.to_owned(), capabilities: self.capabilities(MODEL) }])
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        // Contract 7: what is refused is refused before the stream begins.
        if request.model != MODEL {
            let said = format!("there is no model `{}`; there is {MODEL}", request.model);
            return Err(ProviderError::new(ErrorKind::ModelNotFound, self.id().to_owned(), said));
        }
        let asked = request.messages.iter().rfind(|message| message.role == Role::User);
        let reply: String =
            asked.map(Message::plain_text).unwrap_or_default().chars().rev().collect();

        // Contract 3: the deltas, joined, are the text of the finished message.
        let mut events: Vec<LlmEvent> = vec![LlmEvent::Started { model: Some(MODEL.to_owned()) }];
        let deltas =
            reply.split_inclusive(' ').map(|text| LlmEvent::TextDelta { text: text.to_owned() });
        events.extend(deltas);
        // Contract 1: exactly one `Finished`, the last item.
        let message = Message::text(Role::Assistant, reply);
        let finished = LlmFinished::new(message, StopReason::EndTurn, Usage::default());
        events.push(finished.into());

        // A cancelled call ends with `Cancelled`, however much is left to say.
        let cancel = cx.cancel.clone();
        let events = stream::iter(events).map(move |event| {
            if cancel.is_cancelled() {
                Err(ProviderError::new(ErrorKind::Cancelled, "mirror", "the call was cancelled"))
            } else {
                Ok(event)
            }
        });
        Ok(Box::pin(events))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .provider(Mirror)
        .default_model(ModelName::new("mirror", MODEL))
        .build()?;
    let working = engine.start();
    let run = engine.create_run(NewRun::new("desserts am I stressed")).await?.run;
    let run = engine.join(run.id, Duration::from_secs(10)).await?;
    println!("{}: {}", run.status, run.output.unwrap_or_default());
    working.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
