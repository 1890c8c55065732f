//! What people tell a run: messages and signals, each accepted once by its id.

use serde_json::Value;

use super::{
    Engine, EngineError, EngineErrorKind,
    control::{busy, refuse},
    journal,
    new_run::Wrong,
};
use crate::{
    directive::DirectiveMode,
    event::{Event, EventBody},
    id::RunId,
    limits,
    message::{clean_text, clean_value},
    run::ParkReason,
    store::{EventQuery, Order, Ready, SignalRow},
};

/// A message to a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewMessage {
    /// The sender's id; the same id again is the same message again.
    pub id: Option<String>,
    /// What to read.
    pub text: String,
    /// When.
    pub mode: DirectiveMode,
}

impl Engine {
    /// Sends a message that the agent reads with its next model call, or at once. The event that
    /// recorded it, and whether it is new.
    ///
    /// # Errors
    /// `NotFound`; `Validation`; `InvalidTransition` for a run that ended or is being canceled.
    pub async fn send_message(
        &self,
        id: RunId,
        message: NewMessage,
    ) -> Result<(Event, bool), EngineError> {
        let mut wrong = Wrong::default();
        if message.text.trim().is_empty() {
            wrong.add("/text", "say something");
        } else if message.text.len() > limits::TEXT_BYTES_MAX {
            wrong.add("/text", format!("longer than {} bytes", limits::TEXT_BYTES_MAX));
        }
        check_id(message.id.as_deref(), &mut wrong);
        wrong.into_result()?;
        let message_id = self.inbox_id(message.id);
        let mut text = message.text;
        clean_text(&mut text);
        let body =
            EventBody::DirectiveReceived { id: message_id.clone(), text, mode: message.mode };
        self.deliver(id, message_id, String::new(), body).await
    }

    /// Tells a run that something happened. Kept until the run waits for it. The event that
    /// recorded it, and whether it is new.
    ///
    /// # Errors
    /// `NotFound`; `Validation`; `InvalidTransition` for a run that ended or is being canceled.
    pub async fn signal(
        &self,
        id: RunId,
        name: &str,
        mut payload: Value,
        signal_id: Option<String>,
    ) -> Result<(Event, bool), EngineError> {
        let mut wrong = Wrong::default();
        if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            wrong.add("/name", "use 1 to 200 printable characters");
        }
        if payload.to_string().len() > limits::TEXT_BYTES_MAX {
            wrong.add("/payload", format!("larger than {} bytes", limits::TEXT_BYTES_MAX));
        }
        check_id(signal_id.as_deref(), &mut wrong);
        wrong.into_result()?;
        clean_value(&mut payload);
        let signal_id = self.inbox_id(signal_id);
        let body = EventBody::SignalReceived {
            id: signal_id.clone(),
            name: name.to_owned(),
            data: payload,
        };
        self.deliver(id, signal_id, name.to_owned(), body).await
    }

    fn inbox_id(&self, given: Option<String>) -> String {
        given.unwrap_or_else(|| self.inner.ids.next().to_string())
    }

    async fn deliver(
        &self,
        id: RunId,
        inbox_id: String,
        name: String,
        body: EventBody,
    ) -> Result<(Event, bool), EngineError> {
        let inner = &self.inner;
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let run = inner.store.run(id).await?;
            if let Some(event) = self.delivered(id, body.kind(), &inbox_id).await? {
                return Ok((event, false));
            }
            if run.status.is_terminal() || run.cancel_requested {
                return refuse(&run, "take messages");
            }
            if name.is_empty() && run.spec.workflow.is_some() {
                return Err(EngineError::new(
                    EngineErrorKind::InvalidTransition,
                    format!("run {id} runs code, which reads no messages; send it a signal"),
                ));
            }
            let mut batch = inner.command(&run);
            inner.push(&mut batch, &body);
            batch.signals.push(SignalRow { id: inbox_id.clone(), name: name.clone(), event: 0 });
            let waits = run.park.as_ref().is_some_and(|park| {
                matches!(
                    park.reason,
                    ParkReason::Signal | ParkReason::Timer | ParkReason::Ask | ParkReason::Approval
                )
            });
            if waits && !run.pause_requested && run.owner.is_none() {
                batch.patch.park = Some(None);
                batch.ready = Ready::At(inner.clock.now());
            }
            if inner.write(&run, batch).await? {
                return match self.delivered(id, body.kind(), &inbox_id).await? {
                    Some(event) => Ok((event, true)),
                    None => Err(busy(id)),
                };
            }
        }
        Err(busy(id))
    }

    /// The event of an inbox id that was accepted before.
    async fn delivered(
        &self,
        run: RunId,
        kind: &str,
        inbox_id: &str,
    ) -> Result<Option<Event>, EngineError> {
        let mut query = EventQuery::after(0);
        query.kinds = vec![kind.to_owned()];
        query.order = Order::Descending;
        loop {
            let page = self.inner.store.events(run, &query).await?;
            let full = page.len() >= query.limit;
            for event in page {
                query.after = event.seq;
                let event = journal::whole(&*self.inner.store, event).await?;
                if event.payload.get("id").and_then(Value::as_str) == Some(inbox_id) {
                    return Ok(Some(event));
                }
            }
            if !full {
                return Ok(None);
            }
        }
    }
}

fn check_id(id: Option<&str>, wrong: &mut Wrong) {
    if id.is_some_and(|id| id.is_empty() || id.len() > 255) {
        wrong.add("/id", "must have 1 to 255 bytes");
    }
}
