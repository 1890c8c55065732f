//! What the API's errors mean. Compatible servers share the statuses and little else, so codes
//! are asked first, then well-known sentences, then the status.

use agent_runner_core::llm::ErrorKind;
use serde_json::{Value, json};

use crate::{http::Refusal, llm::Fault};

/// The fault of a refused request.
pub(super) fn refused(refusal: &Refusal, model: Option<&str>) -> Fault {
    let status = refusal.status;
    if let Ok(document) = crate::llm::json::parse::<Value>(&refusal.text)
        && let Some(mut fault) = reported(&document, Some(status))
    {
        if fault.kind == ErrorKind::ModelNotFound
            && let Some(model) = model
            && !fault.message.contains(model)
        {
            fault.message = format!("{} (model `{model}`)", fault.message);
        }
        return fault;
    }
    let text = refusal.text.trim();
    let kind = match status {
        // A service that knows the path says in JSON that it lacks the model.
        404 => ErrorKind::InvalidRequest,
        _ => Fault::kind_of_status(status),
    };
    let message = match status {
        300..=399 => {
            "the server redirects elsewhere; set the base URL to where it points".to_owned()
        }
        404 | 405 => {
            "there is no such API at this address; the base URL usually ends with /v1".to_owned()
        }
        _ if text.is_empty() => "the service refused the request without a reason".to_owned(),
        _ => match refusal.page_title() {
            Some(title) => {
                format!("something in front of the service answered with a web page: {title}")
            }
            None => text.to_owned(),
        },
    };
    Fault::new(kind, message)
}

/// The error that a document reports, if it does: `{"error": {..}}`, `{"error": ".."}`,
/// `{"object": "error", ..}` (vLLM) or, with an error status, `{"message": ..}`, `{"detail": ..}`;
/// any of them may be alone in a list (Google).
pub(super) fn reported(document: &Value, status: Option<u16>) -> Option<Fault> {
    let document = match document.as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => document,
    };
    let error = match document.get("error") {
        Some(Value::Null | Value::Bool(false)) | None => {
            let is_error = document.get("object").is_some_and(|object| object == "error");
            (is_error || status.is_some()).then_some(document)?
        }
        Some(error) => error,
    };
    let text = |field: &str| match error.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = error
        .as_str()
        .map(str::to_owned)
        .or_else(|| text("message"))
        .or_else(|| {
            error
                .get("detail")
                .map(|detail| detail.as_str().map_or_else(|| detail.to_string(), str::to_owned))
        })
        .unwrap_or_else(|| format!("the service gave no reason but {error}"));
    let is_word = |code: &String| code.parse::<u16>().is_err();
    let code = text("code").filter(is_word).or_else(|| text("type")).or_else(|| text("code"));
    // OpenRouter and llama.cpp put the status into `code` when it no longer fits the head.
    let status = status.or_else(|| text("code")?.parse().ok());
    let names = [text("code"), text("type")];
    let kind = names
        .iter()
        .flatten()
        .find_map(|name| kind_of_code(name))
        .or_else(|| kind_of_message(&message, status))
        .unwrap_or_else(|| status.map_or(ErrorKind::Unavailable, Fault::kind_of_status));
    Some(Fault::new(kind, message).with_code(code))
}

/// The fault of an event that is named `error`, whatever it says.
pub(super) fn event(data: &str) -> Fault {
    let Ok(mut document) = crate::llm::json::parse::<Value>(data) else {
        return Fault::new(ErrorKind::Unavailable, data);
    };
    if document.get("error").is_none_or(Value::is_null) {
        if let Some(fields) = document.as_object_mut() {
            // Here it is the kind of the event and not of the error.
            fields.remove("type");
        }
        document = json!({"error": document});
    }
    reported(&document, None).unwrap_or_else(|| Fault::new(ErrorKind::Unavailable, data))
}

fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" => {
            ErrorKind::QuotaExhausted
        }
        "context_length_exceeded" | "exceed_context_size_error" => ErrorKind::ContextLength,
        "model_not_found" | "model_not_available" => ErrorKind::ModelNotFound,
        "invalid_api_key" | "authentication_error" => ErrorKind::Auth,
        "permission_error" | "permission_denied" => ErrorKind::PermissionDenied,
        "content_filter" | "content_policy_violation" | "invalid_prompt" => {
            ErrorKind::ContentFilter
        }
        "rate_limit_exceeded" | "rate_limit_error" => ErrorKind::RateLimited,
        "overloaded_error" | "engine_overloaded" | "slow_down" => ErrorKind::Overloaded,
        "server_error" | "internal_error" | "api_error" => ErrorKind::Unavailable,
        // Groq: the model wrote a call that its own parser refuses; another try may do better.
        "tool_use_failed" => ErrorKind::MalformedResponse,
        _ => return None,
    })
}

/// Sentences of servers that have no code for what they mean.
fn kind_of_message(message: &str, status: Option<u16>) -> Option<ErrorKind> {
    let message = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if !matches!(status, None | Some(400 | 404 | 413 | 422 | 500 | 501)) {
        return None;
    }
    if says(&[
        "maximum context length",
        "context length exceeded",
        "exceeds the available context size",
        "context window",
        "context the overflows",
    ]) {
        return Some(ErrorKind::ContextLength);
    }
    if says(&[
        "requires --jinja",
        "requires --enable-auto-tool-choice",
        "does not support tools",
        "does not support function",
        "support tool use",
        "tools is not supported",
        "tool calling is not supported",
    ]) {
        return Some(ErrorKind::UnsupportedFeature);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_code_then_sentence_then_status() {
        let error =
            |code: &str, message: &str| json!({"error": {"code": code, "message": message}});
        let table = [
            (429, error("insufficient_quota", "pay"), ErrorKind::QuotaExhausted),
            (429, error("rate_limit_exceeded", "slow down"), ErrorKind::RateLimited),
            (400, error("context_length_exceeded", "long"), ErrorKind::ContextLength),
            (
                400,
                json!({"error": {"code": 400, "type": "exceed_context_size_error",
                    "message": "the request exceeds the available context size", "n_ctx": 4096}}),
                ErrorKind::ContextLength,
            ),
            (
                400,
                json!({"object": "error", "type": "BadRequestError", "code": 400,
                    "message": "This model's maximum context length is 4096 tokens."}),
                ErrorKind::ContextLength,
            ),
            (
                404,
                json!({"object": "error", "message": "The model `x` does not exist.",
                    "type": "NotFoundError", "code": 404}),
                ErrorKind::ModelNotFound,
            ),
            (
                500,
                json!({"error": {"code": 500, "type": "server_error_x",
                    "message": "tools param requires --jinja flag"}}),
                ErrorKind::UnsupportedFeature,
            ),
            (
                503,
                json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
                ErrorKind::Overloaded,
            ),
            (401, json!({"error": "no key"}), ErrorKind::Auth),
            (429, json!([{"error": {"code": 429, "message": "slow"}}]), ErrorKind::RateLimited),
            (422, json!({"detail": [{"loc": ["body"], "msg": "bad"}]}), ErrorKind::InvalidRequest),
            (
                400,
                error("tool_use_failed", "Failed to call a function"),
                ErrorKind::MalformedResponse,
            ),
            (498, json!({"error": null}), ErrorKind::Overloaded),
            (
                400,
                json!({"error": {"message": "bad temperature", "type": "invalid_request_error", "code": null}}),
                ErrorKind::InvalidRequest,
            ),
        ];
        for (status, document, kind) in table {
            assert_eq!(reported(&document, Some(status)).unwrap().kind, kind, "{document}");
        }
    }

    #[test]
    fn the_code_is_a_word_where_there_is_one() {
        let table = [
            (
                json!({"code": 400, "type": "exceed_context_size_error"}),
                "exceed_context_size_error",
            ),
            (json!({"code": "invalid_api_key", "type": "x"}), "invalid_api_key"),
            (json!({"code": 502}), "502"),
        ];
        for (error, code) in table {
            let fault = reported(&json!({"error": error}), Some(400)).unwrap();
            assert_eq!(fault.code.as_deref(), Some(code));
        }
    }

    #[test]
    fn a_frame_is_an_error_only_if_it_says_so() {
        assert_eq!(reported(&json!({"choices": []}), None), None);
        assert_eq!(reported(&json!({"choices": [], "error": null}), None), None);
        let fault = reported(&json!({"error": {"code": 429, "message": "busy"}}), None).unwrap();
        assert_eq!((fault.kind, fault.code.as_deref()), (ErrorKind::RateLimited, Some("429")));
        let fault = reported(&json!({"error": "boom"}), None).unwrap();
        assert_eq!((fault.kind, fault.message.as_str()), (ErrorKind::Unavailable, "boom"));
    }
}
