//! What the API's errors mean: by their type and code, because the wording may change. Only what
//! has no code of its own is told by its sentence.

use agent_runner_core::llm::ErrorKind;
use serde_json::Value;

use crate::{
    http::Refusal,
    llm::{Fault, json},
};

/// The fault of a refused request.
pub(super) fn refused(refusal: &Refusal, model: Option<&str>) -> Fault {
    let status = refusal.status;
    let document = json::parse::<Value>(&refusal.text).ok();
    if let Some(mut fault) = document.and_then(|document| reported(&document, Some(status))) {
        if fault.kind == ErrorKind::ModelNotFound
            && let Some(model) = model
            && !fault.message.contains(model)
        {
            fault.message = format!("{} (model `{model}`)", fault.message);
        }
        return fault;
    }
    let text = refusal.text.trim();
    let message = match status {
        300..=399 => "the server redirects elsewhere; set the base URL to where it points",
        404 | 405 => {
            "there is no such API at this address; the base URL is what stands before /v1/messages"
        }
        413 => "the request is larger than the service takes",
        _ if text.is_empty() => "the service refused the request without a reason",
        _ if text.starts_with('<') => "something in front of the service answered with a web page",
        _ => text,
    };
    let kind = match status {
        // A service that knows the path says in JSON that it lacks the model.
        404 => ErrorKind::InvalidRequest,
        _ => Fault::kind_of_status(status),
    };
    Fault::new(kind, message)
}

/// The error that a document or an event reports, if it does: `{"type": "error", "error": {..}}`,
/// or with an error status anything that has an `error`.
pub(super) fn reported(document: &Value, status: Option<u16>) -> Option<Fault> {
    let error = match document.get("error") {
        Some(Value::Null) | None => {
            let is_error = document.get("type").is_some_and(|kind| kind == "error");
            is_error.then_some(document)?
        }
        Some(error) => error,
    };
    let text = |path: &str| error.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let message = text("/message")
        .or_else(|| error.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("the service gave no reason but {error}"));
    let (code, name) = (text("/details/error_code"), text("/type"));
    let kind = code
        .as_deref()
        .and_then(kind_of_code)
        .or_else(|| kind_of_sentence(&message, name.as_deref(), status))
        .or_else(|| kind_of_type(name.as_deref()?))
        .unwrap_or_else(|| status.map_or(ErrorKind::Unavailable, Fault::kind_of_status));
    let mut fault = Fault::new(kind, message).with_code(code.or(name));
    fault.request_id = document.get("request_id").and_then(Value::as_str).map(str::to_owned);
    Some(fault)
}

fn kind_of_code(code: &str) -> Option<ErrorKind> {
    match code {
        // The limits on spending come as "too many requests", but waiting a minute helps nobody.
        code if code.ends_with("spend_limit_reached") => Some(ErrorKind::QuotaExhausted),
        "ramp_limit_exceeded" => Some(ErrorKind::RateLimited),
        _ => None,
    }
}

fn kind_of_type(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "invalid_request_error" => ErrorKind::InvalidRequest,
        "authentication_error" => ErrorKind::Auth,
        "billing_error" => ErrorKind::QuotaExhausted,
        "permission_error" => ErrorKind::PermissionDenied,
        "not_found_error" => ErrorKind::ModelNotFound,
        "request_too_large" => ErrorKind::PayloadTooLarge,
        "rate_limit_error" => ErrorKind::RateLimited,
        "timeout_error" => ErrorKind::Timeout,
        "overloaded_error" => ErrorKind::Overloaded,
        "api_error" | "conflict_error" => ErrorKind::Unavailable,
        // llama.cpp answers in this API, too.
        "exceed_context_size_error" => ErrorKind::ContextLength,
        _ => return None,
    })
}

/// Sentences of errors that share their type with many others.
fn kind_of_sentence(message: &str, name: Option<&str>, status: Option<u16>) -> Option<ErrorKind> {
    let message = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    let is_invalid = name == Some("invalid_request_error") || status == Some(400);
    let is_limit = name == Some("rate_limit_error") || status == Some(429);
    if is_invalid && says(&["prompt is too long", "exceed context limit"]) {
        Some(ErrorKind::ContextLength)
    } else if (is_invalid || is_limit)
        && says(&["spend limit", "api usage limits", "credit balance is too low"])
    {
        Some(ErrorKind::QuotaExhausted)
    } else if says(&["requires --jinja"]) {
        Some(ErrorKind::UnsupportedFeature)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(kind: &str, message: &str, code: Option<&str>) -> Value {
        let details = code.map(|code| json!({"error_code": code}));
        json!({"type": "error", "request_id": "req_1",
            "error": {"type": kind, "message": message, "details": details}})
    }

    #[test]
    fn errors_are_told_apart_by_code_then_type_then_status() {
        let limit = "rate_limit_error";
        let table = [
            (400, error("invalid_request_error", "bad", None), ErrorKind::InvalidRequest),
            (401, error("authentication_error", "key", None), ErrorKind::Auth),
            (402, error("billing_error", "pay", None), ErrorKind::QuotaExhausted),
            (403, error("permission_error", "no", None), ErrorKind::PermissionDenied),
            (404, error("not_found_error", "model: x", None), ErrorKind::ModelNotFound),
            (409, error("conflict_error", "again", None), ErrorKind::Unavailable),
            (413, error("request_too_large", "big", None), ErrorKind::PayloadTooLarge),
            (429, error(limit, "slow", None), ErrorKind::RateLimited),
            (429, error(limit, "slow", Some("ramp_limit_exceeded")), ErrorKind::RateLimited),
            (500, error("api_error", "oops", None), ErrorKind::Unavailable),
            (504, error("timeout_error", "late", None), ErrorKind::Timeout),
            (529, error("overloaded_error", "Overloaded", None), ErrorKind::Overloaded),
            (503, error("brand_new_error", "?", None), ErrorKind::Overloaded),
            (400, json!({"error": "plain"}), ErrorKind::InvalidRequest),
        ];
        for (status, document, kind) in table {
            assert_eq!(reported(&document, Some(status)).unwrap().kind, kind, "{document}");
        }
    }

    #[test]
    fn a_spend_limit_is_no_rate_limit() {
        for (status, kind, message, code) in [
            (429, "rate_limit_error", "x", Some("enforced_spend_limit_reached")),
            (429, "rate_limit_error", "x", Some("contract_spend_limit_reached")),
            (429, "rate_limit_error", "Your tier's monthly spend limit is reached", None),
            (
                400,
                "invalid_request_error",
                "You have reached your specified API usage limits.",
                None,
            ),
            (400, "invalid_request_error", "Your credit balance is too low", None),
        ] {
            let fault = reported(&error(kind, message, code), Some(status)).unwrap();
            assert_eq!(fault.kind, ErrorKind::QuotaExhausted, "{message} {code:?}");
            assert_eq!(fault.code.as_deref(), Some(code.unwrap_or(kind)));
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_told_by_its_sentence() {
        for message in [
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        ] {
            let document = error("invalid_request_error", message, None);
            assert_eq!(reported(&document, Some(400)).unwrap().kind, ErrorKind::ContextLength);
            let document = error("api_error", message, None);
            assert_eq!(reported(&document, Some(500)).unwrap().kind, ErrorKind::Unavailable);
        }
    }

    #[test]
    fn an_event_has_no_status_and_a_message_is_no_error() {
        let fault = reported(&error("overloaded_error", "Overloaded", None), None).unwrap();
        assert_eq!(
            (fault.kind, fault.request_id.as_deref()),
            (ErrorKind::Overloaded, Some("req_1"))
        );
        let fault = reported(&error("brand_new_error", "?", None), None).unwrap();
        assert_eq!(fault.kind, ErrorKind::Unavailable);
        assert_eq!(reported(&json!({"type": "error"}), None).unwrap().kind, ErrorKind::Unavailable);
        assert_eq!(reported(&json!({"type": "message", "error": null}), None), None);
    }
}
