//! How many tokens a conversation has.

use std::time::Duration;

use agent_runner_core::{
    llm::{CallCx, ErrorKind, LlmRequest, ProviderError, estimate_tokens},
    message::{Message, Role},
};
use axum::{Json, extract::State};

use super::{generate::model, provider::find};
use crate::{
    api::Api,
    dto::provider::{CountTokens, Counted, Said, Speaker},
    extract::{Body, Name, Query},
    problem::{Problem, ProblemBody},
};

/// How long a service may count.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Counts the tokens of a conversation without answering it.
#[utoipa::path(post, path = "/providers/{name}/count_tokens", tag = "providers", request_body = CountTokens,
    params(("name" = String, Path, description = "The provider")),
    responses(
        (status = 200, description = "The tokens, counted by the service or estimated", body = Counted),
        (status = 404, description = "Unknown provider", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Unknown model, wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The provider did not answer well", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn count_tokens(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
    Body(wanted, _): Body<CountTokens>,
) -> Result<Json<Counted>, Problem> {
    let provider = find(&api, &name)?;
    let mut cx = CallCx::new(api.engine().ids().next().to_string());
    cx.timeout = Some(TIMEOUT);
    let messages = messages(wanted.prompt, wanted.messages.map(spoken), wanted.instructions)?;
    let model = model(&api, &*provider, wanted.model.as_deref(), &cx).await?;
    let request = LlmRequest::new(model, messages);
    let asked = tokio::time::timeout(TIMEOUT, provider.count_tokens(&request, &cx)).await;
    let counted = asked.map_err(|_| {
        ProviderError::new(ErrorKind::Timeout, name.clone(), "did not count the tokens in time")
    })??;
    let (tokens, source) = match counted {
        Some(tokens) => (tokens, "provider"),
        None => (estimate_tokens(&request), "estimate"),
    };
    let model = format!("{name}/{}", request.model);
    Ok(Json(Counted { provider: name, model, tokens, source }))
}

fn spoken(said: Vec<Said>) -> Vec<Message> {
    let message = |said: Said| {
        let role = match said.role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        Message::text(role, said.text)
    };
    said.into_iter().map(message).collect()
}

fn messages(
    prompt: Option<String>,
    conversation: Option<Vec<Message>>,
    instructions: Option<String>,
) -> Result<Vec<Message>, Problem> {
    let mut messages: Vec<Message> =
        instructions.into_iter().map(|text| Message::text(Role::System, text)).collect();
    match (prompt, conversation) {
        (Some(prompt), None) => messages.push(Message::text(Role::User, prompt)),
        (None, Some(said)) if !said.is_empty() => messages.extend(said),
        (None, Some(_)) => return Err(Problem::field("/messages", "there is none")),
        (Some(_), Some(_)) => {
            return Err(Problem::field("/messages", "give `prompt` or `messages`, not both"));
        }
        (None, None) => return Err(Problem::field("/prompt", "give `prompt` or `messages`")),
    }
    Ok(messages)
}
