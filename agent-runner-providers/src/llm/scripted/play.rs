//! A turn played as a stream of small pieces.

use std::{borrow::Cow, collections::VecDeque, time::Duration};

use agent_runner_core::llm::{
    BoxStream, CallCx, ErrorKind, LlmEvent, LlmRequest, ProviderError, SendState, StopReason,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    script::{Failure, Script, Turn},
    turn::Scene,
};
use crate::llm::reply::{Reply, arguments};

/// The waits and items of one reply, in order.
type Steps = VecDeque<(Duration, Result<LlmEvent, ProviderError>)>;

/// What bounds the waits of a call.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    provider: Cow<'static, str>,
    cx: CallCx,
    until: Option<Instant>,
}

impl Patience {
    /// That of a call which begins now.
    pub(super) fn of(provider: Cow<'static, str>, cx: &CallCx) -> Self {
        let until = cx.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { provider, cx: cx.clone(), until }
    }

    /// Waits, unless the call is over before.
    pub(super) async fn wait(&self, delay: Duration) -> Result<(), ProviderError> {
        let over = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let error = |kind, text: &str| ProviderError::new(kind, self.provider.clone(), text);
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => {
                Err(error(ErrorKind::Cancelled, "the call was cancelled"))
            }
            () = over => Err(error(ErrorKind::Timeout, "the script took longer than the call may")),
            () = tokio::time::sleep(delay), if !delay.is_zero() => Ok(()),
            // Without a delay there is nothing to wait for, but a script must not hog its thread.
            () = tokio::task::yield_now(), if delay.is_zero() => Ok(()),
        }
    }
}

/// The error of a failure.
pub(super) fn error(provider: Cow<'static, str>, failure: &Failure) -> ProviderError {
    let message = match failure.message.as_str() {
        "" => "the script says that this call fails",
        message => message,
    };
    let mut error = ProviderError::new(failure.kind, provider, message).with_sent(SendState::Sent);
    if let Some(status) = failure.http_status {
        error = error.with_http_status(status);
    }
    if let Some(wait) = failure.retry_after_ms {
        error = error.with_retry_after(Duration::from_millis(wait));
    }
    error
}

/// Everything that a turn says. With an `interruption` that many pieces of it, then the error.
pub(super) fn steps(
    request: &LlmRequest,
    (script, scene, turn): (&Script, &Scene<'_>, &Turn),
    interruption: Option<(usize, ProviderError)>,
) -> Steps {
    let mut reply = Reply::new(request);
    let mut events: Vec<LlmEvent> = Vec::new();
    for piece in words(&scene.fill(&turn.reasoning)) {
        events.extend(reply.reasoning(piece));
    }
    let calls = turn.tool_calls.iter().map(|call| {
        let given = scene.fill_value(&call.arguments);
        (call.name.clone(), given.as_str().map(arguments).unwrap_or(given))
    });
    if scene.constrained {
        for piece in words(&constrained(calls.into_iter().next(), &scene.fill(&turn.text))) {
            events.extend(reply.text(piece));
        }
    } else {
        for piece in words(&scene.fill(&turn.text)) {
            events.extend(reply.text(piece));
        }
        for (name, arguments) in calls {
            let written = match &arguments {
                Value::String(invalid) => invalid.clone(),
                valid => valid.to_string(),
            };
            events.extend(words(&written).map(|piece| LlmEvent::ToolCallDelta {
                name: name.clone(),
                json: piece.to_owned(),
            }));
            reply.call("", name, arguments);
        }
    }
    let mut steps = VecDeque::new();
    let first = scene.asked_delay().filter(|_| turn.delay_from_goal);
    let model = Some(request.model.clone());
    steps.push_back((first.unwrap_or_else(|| script.delay(turn)), Ok(LlmEvent::Started { model })));
    let delay = script.chunk_delay(turn);
    let before = interruption.as_ref().map_or(usize::MAX, |(pieces, _)| *pieces);
    steps.extend(events.into_iter().take(before).map(|event| (delay, Ok(event))));
    steps.push_back(match interruption {
        Some((_, error)) => (delay, Err(error)),
        None => {
            let stop = turn.stop.clone().unwrap_or(StopReason::EndTurn);
            let finished = reply.finish(stop, turn.usage.usage(), None);
            (Duration::ZERO, Ok(finished.into()))
        }
    });
    steps
}

/// The form in which a model without native tools calls one, or answers.
fn constrained(call: Option<(String, Value)>, text: &str) -> String {
    match call {
        Some((tool, arguments)) => json!({"tool": tool, "with": arguments}),
        // An agent with a schema for its answer wants the document, not a string of it.
        None => match serde_json::from_str(text) {
            Ok(answer @ (Value::Object(_) | Value::Array(_))) => json!({"answer": answer}),
            _ => json!({"answer": text}),
        },
    }
    .to_string()
}

/// Pieces of about a word, which joined are `text`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// Plays the steps.
pub(super) fn play(
    steps: Steps,
    patience: Patience,
) -> BoxStream<'static, Result<LlmEvent, ProviderError>> {
    Box::pin(futures::stream::unfold(Some((steps, patience)), |playing| async move {
        let (mut steps, patience) = playing?;
        let (delay, item) = steps.pop_front()?;
        let item = patience.wait(delay).await.and(item);
        let next = item.is_ok().then_some((steps, patience));
        Some((item, next))
    }))
}
