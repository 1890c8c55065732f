//! One prompt to one model, without a run.

use std::time::Duration;

use agent_runner_core::{
    agent::ModelName,
    engine::{OneShot, OneShotError},
    llm::{
        BoxStream, CallCx, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest, ProviderError,
    },
    message::{Message, Role},
};
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::Instant;

use super::provider::find;
use crate::{
    api::Api,
    dto::{
        event::DELTA,
        provider::{Generate, Generated},
    },
    extract::{Body, Name, Query},
    observe::RequestId,
    problem::{Code, FieldProblem, Problem, ProblemBody},
    stream::{Format, respond},
};

/// How long a reply may take when the client does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);

type Reply = BoxStream<'static, Result<LlmEvent, ProviderError>>;

/// Asks a model one thing and answers with its reply.
#[utoipa::path(post, path = "/providers/{name}/generate", tag = "providers", request_body = Generate,
    params(
        ("name" = String, Path, description = "The provider"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same reply; not for streams"),
    ),
    responses(
        (status = 200, description = "The reply; with `stream` as `llm.delta` events, then `llm.completed`, then `stream.end`", content(
            (Generated = "application/json"), (Generated = "text/event-stream"))),
        (status = 404, description = "Unknown provider", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "A budget is spent", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Unknown model, wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The provider did not answer well", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn generate(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Body(wanted, _): Body<Generate>,
) -> Result<Response, Problem> {
    let provider = find(&api, &name)?;
    let timeout = check(&wanted, api.options().wait_max)?;
    let mut cx = CallCx::new(api.engine().ids().next().to_string());
    cx.timeout = Some(timeout);
    let start = Instant::now();
    let model = model(&api, &*provider, wanted.model.as_deref(), &cx).await?;
    let streamed = wanted.stream;
    let request = request(&model, wanted);
    let asked = ModelName::new(&name, &model);
    let call = Call {
        shot: api.engine().begin_one_shot(asked, &request).await.map_err(refused)?,
        start,
        deadline: start + timeout,
        provider: name,
        request_id,
    };
    let reply = tokio::time::timeout_at(call.deadline, provider.stream(&request, &cx)).await;
    let reply = match reply.unwrap_or_else(|_| Err(call.late())) {
        Ok(reply) => reply,
        Err(error) => return Err(call.failed(error).await.into()),
    };
    if streamed {
        return Ok(respond(Format::Sse, call.events(reply)));
    }
    Ok(Json(call.finish(reply).await?).into_response())
}

fn refused(error: OneShotError) -> Problem {
    match error {
        OneShotError::OverBudget(why) => Problem::new(Code::BudgetExceeded, why),
        OneShotError::Engine(error) => error.into(),
    }
}

fn check(wanted: &Generate, max: Duration) -> Result<Duration, Problem> {
    let mut wrong = Vec::new();
    let mut add = |pointer: &str, detail: String| {
        wrong.push(FieldProblem { pointer: pointer.to_owned(), detail });
    };
    if wanted.prompt.trim().is_empty() {
        add("/prompt", "say what the model is to do".to_owned());
    }
    if wanted.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        add("/temperature", "must be between 0 and 2".to_owned());
    }
    if wanted.max_output_tokens == Some(0) {
        add("/max_output_tokens", "must be at least 1".to_owned());
    }
    let timeout = wanted.timeout_seconds.map_or(TIMEOUT_DEFAULT, Duration::from_secs);
    if timeout.is_zero() || timeout > max.max(TIMEOUT_DEFAULT) {
        add("/timeout_seconds", format!("must be 1 to {}", max.as_secs()));
    }
    if wrong.is_empty() { Ok(timeout) } else { Err(Problem::fields(wrong)) }
}

/// The model's id as the provider knows it.
pub(super) async fn model(
    api: &Api,
    provider: &dyn LlmProvider,
    wanted: Option<&str>,
    cx: &CallCx,
) -> Result<String, Problem> {
    if let Some(wanted) = wanted {
        let prefix = format!("{}/", provider.id());
        return Ok(wanted.strip_prefix(&prefix).unwrap_or(wanted).to_owned());
    }
    let default = api.engine().default_model();
    if default.provider() == provider.id() {
        return Ok(default.model().to_owned());
    }
    let asked = tokio::time::timeout(api.options().provider_timeout, provider.models(cx)).await;
    let models = asked.map_err(|_| {
        let late = ErrorKind::Timeout;
        ProviderError::new(late, provider.id().to_owned(), "did not list its models in time")
    })??;
    let first = models.into_iter().next().map(|model| model.id);
    first.ok_or_else(|| Problem::field("/model", "the provider offers no models; name one"))
}

fn request(model: &str, wanted: Generate) -> LlmRequest {
    let mut messages = Vec::new();
    if let Some(instructions) = wanted.instructions {
        messages.push(Message::text(Role::System, instructions));
    }
    messages.push(Message::text(Role::User, wanted.prompt));
    let mut request = LlmRequest::new(model, messages);
    request.output_schema = wanted.output_schema;
    request.temperature = wanted.temperature;
    request.max_output_tokens = wanted.max_output_tokens;
    request.reasoning = wanted.reasoning.map(Into::into);
    request
}

/// One call in progress.
struct Call {
    shot: OneShot,
    provider: String,
    request_id: String,
    start: Instant,
    deadline: Instant,
}

impl Call {
    fn late(&self) -> ProviderError {
        ProviderError::new(
            ErrorKind::Timeout,
            self.provider.clone(),
            "the reply took too long; raise timeout_seconds",
        )
    }

    fn cut_short(&self) -> ProviderError {
        ProviderError::new(
            ErrorKind::StreamTruncated,
            self.provider.clone(),
            "the reply ended before it was complete",
        )
    }

    async fn next(&mut self, reply: &mut Reply) -> Result<LlmEvent, ProviderError> {
        let event = match tokio::time::timeout_at(self.deadline, reply.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(self.cut_short()),
            Err(_) => return Err(self.late()),
        };
        self.shot.hear(&event);
        Ok(event)
    }

    async fn finish(mut self, mut reply: Reply) -> Result<Generated, ProviderError> {
        loop {
            match self.next(&mut reply).await {
                Ok(LlmEvent::Finished(finished)) => return Ok(self.generated(*finished).await),
                Ok(_) => {}
                Err(error) => return Err(self.failed(error).await),
            }
        }
    }

    /// The error again, after what the call took is booked.
    async fn failed(self, error: ProviderError) -> ProviderError {
        self.shot.fail(&error).await;
        error
    }

    /// The reply for the client, after it is booked.
    async fn generated(self, finished: LlmFinished) -> Generated {
        let asked = self.shot.model().clone();
        let elapsed = self.start.elapsed();
        let finished = self.shot.finish(finished).await;
        let answered = finished.answered_by.filter(|model| *model != asked);
        Generated {
            provider: self.provider,
            answered_by: answered.as_ref().map(ToString::to_string),
            model: asked.to_string(),
            text: finished.message.plain_text(),
            stop: json!(finished.stop),
            stop_detail: finished.stop_detail,
            notices: finished.notices,
            usage: finished.usage.into(),
            cost: finished.cost.map(Into::into),
            provider_request_id: finished.request_id,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The reply as server-sent events.
    fn events(self, reply: Reply) -> BoxStream<'static, Bytes> {
        let state = Some((self, reply));
        Box::pin(stream::unfold(state, |state| async move {
            let (mut call, mut reply) = state?;
            loop {
                let delta = |kind: &str, text: String| {
                    let data = json!({"type": DELTA, "payload": {"kind": kind, "text": text}});
                    Format::Sse.frame(None, DELTA, &data)
                };
                let chunk = match call.next(&mut reply).await {
                    Ok(LlmEvent::TextDelta { text }) => delta("text", text),
                    Ok(LlmEvent::ReasoningDelta { text }) => delta("reasoning", text),
                    Ok(LlmEvent::Finished(finished)) => {
                        return Some((call.last_frames(*finished).await, None));
                    }
                    Ok(_) => continue,
                    Err(error) => return Some((call.error_frame(error).await, None)),
                };
                return Some((chunk, Some((call, reply))));
            }
        }))
    }

    async fn error_frame(self, error: ProviderError) -> Bytes {
        let path = format!("/providers/{}/generate", self.provider);
        let request_id = self.request_id.clone();
        let problem = Problem::from(self.failed(error).await).body(&path, &request_id);
        let data = json!({"type": "stream.error", "problem": problem});
        Format::Sse.frame(None, "stream.error", &data)
    }

    async fn last_frames(self, finished: LlmFinished) -> Bytes {
        let payload = self.generated(finished).await;
        let data = json!({"type": "llm.completed", "payload": payload});
        let completed = Format::Sse.frame(None, "llm.completed", &data);
        let end = Format::Sse.frame(None, "stream.end", &json!({"type": "stream.end"}));
        [completed, end].concat().into()
    }
}
