//! What the API's errors mean: the reason in the details says most, then the status by name, then
//! the HTTP status.

use std::time::Duration;

use agent_runner_core::llm::ErrorKind;
use serde_json::Value;

use crate::{
    http::Refusal,
    llm::{Fault, json},
};

/// The fault of a refused request.
pub(super) fn refused(refusal: &Refusal, model: Option<&str>) -> Fault {
    let status = refusal.status;
    if let Ok(document) = json::parse::<Value>(&refusal.text)
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
        // The API itself says in JSON that it lacks a model.
        404 => ErrorKind::InvalidRequest,
        _ => Fault::kind_of_status(status),
    };
    let message = match status {
        300..=399 => "the server redirects elsewhere; set the base URL to where it points",
        404 | 405 => "there is no such API at this address; is the base URL right?",
        _ if text.is_empty() => "the service refused the request without a reason",
        _ if text.starts_with('<') => "something in front of the service answered with a web page",
        _ => text,
    };
    Fault::new(kind, message)
}

/// The error that a document reports, if it does: `{"error": {..}}`, alone or first in an array.
pub(super) fn reported(document: &Value, status: Option<u16>) -> Option<Fault> {
    let document = document.as_array().and_then(|documents| documents.first()).unwrap_or(document);
    let error = document.get("error").filter(|error| error.is_object() || error.is_string())?;
    let text = |field: &str| {
        error.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let message = error
        .as_str()
        .map(str::to_owned)
        .or_else(|| text("message"))
        .unwrap_or_else(|| format!("the service gave no reason but {error}"));
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = code.filter(|code| *code >= 400).or(status);
    let name = text("status");
    let details = Details::of(error);
    let kind = details
        .reason
        .and_then(kind_of_reason)
        .or_else(|| kind_of_message(&message))
        .or_else(|| name.as_deref().and_then(kind_of_name))
        .unwrap_or_else(|| status.map_or(ErrorKind::Unavailable, Fault::kind_of_status));
    let spent = details.spent || says_limit_zero(&message);
    let kind =
        if kind == ErrorKind::RateLimited && spent { ErrorKind::QuotaExhausted } else { kind };
    let code = details.reason.map(str::to_owned).or(name);
    let mut fault = Fault::new(kind, message).with_code(code);
    // A quota that is used up for the day comes with the wait of another one, a minute at most.
    if kind != ErrorKind::QuotaExhausted {
        fault.retry_after = details.delay;
    }
    Some(fault)
}

/// What the details of an error say.
#[derive(Debug, Default)]
struct Details<'a> {
    reason: Option<&'a str>,
    delay: Option<Duration>,
    /// A quota is used up that a wait of minutes does not renew.
    spent: bool,
}

impl<'a> Details<'a> {
    fn of(error: &'a Value) -> Self {
        let mut found = Self::default();
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let kind = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
            match kind.rsplit('.').next() {
                Some("ErrorInfo") => {
                    let reason = detail.get("reason").and_then(Value::as_str);
                    found.reason = found.reason.or(reason);
                }
                Some("RetryInfo") => {
                    found.delay = detail.get("retryDelay").and_then(Value::as_str).and_then(delay);
                }
                Some("QuotaFailure") => {
                    let violations = detail.get("violations").and_then(Value::as_array);
                    found.spent |= violations.into_iter().flatten().any(is_spent);
                }
                _ => {}
            }
        }
        found
    }
}

fn is_spent(violation: &Value) -> bool {
    let text = |field: &str| violation.get(field).and_then(Value::as_str).unwrap_or_default();
    text("quotaId").contains("PerDay") || text("quotaValue") == "0"
}

/// Models outside the free tier have a limit of nothing there, which no wait raises.
fn says_limit_zero(message: &str) -> bool {
    message
        .split("limit: 0")
        .skip(1)
        .any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

/// A duration as protobuf writes it in JSON: `37s`, `0.5s`.
fn delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().strip_suffix('s')?.parse().ok()?;
    seconds.is_finite().then(|| Duration::try_from_secs_f64(seconds.max(0.0)).ok()).flatten()
}

fn kind_of_reason(reason: &str) -> Option<ErrorKind> {
    Some(match reason {
        "API_KEY_INVALID" | "CREDENTIALS_MISSING" | "ACCESS_TOKEN_EXPIRED" => ErrorKind::Auth,
        "API_KEY_SERVICE_BLOCKED"
        | "API_KEY_HTTP_REFERRER_BLOCKED"
        | "API_KEY_IP_ADDRESS_BLOCKED"
        | "SERVICE_DISABLED"
        | "CONSUMER_SUSPENDED" => ErrorKind::PermissionDenied,
        "BILLING_DISABLED" => ErrorKind::QuotaExhausted,
        "RATE_LIMIT_EXCEEDED" => ErrorKind::RateLimited,
        _ => return None,
    })
}

/// Sentences that say more than their status, which is often `INVALID_ARGUMENT`.
fn kind_of_message(message: &str) -> Option<ErrorKind> {
    let message = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if says(&["api key not valid", "api key expired", "unregistered callers"]) {
        return Some(ErrorKind::Auth);
    }
    if message.contains("token count") && message.contains("exceeds") {
        return Some(ErrorKind::ContextLength);
    }
    if message.contains("payload size exceeds") {
        return Some(ErrorKind::PayloadTooLarge);
    }
    if says(&[
        "with a response mime type",
        "is not supported for this model",
        "is not supported by this model",
        "is not enabled for",
        "thinking is not supported",
    ]) {
        return Some(ErrorKind::UnsupportedFeature);
    }
    None
}

/// The kinds of the canonical codes of google.rpc.
fn kind_of_name(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => ErrorKind::InvalidRequest,
        "UNAUTHENTICATED" => ErrorKind::Auth,
        // The free tier is not open to every country; a project with billing is.
        "PERMISSION_DENIED" | "FAILED_PRECONDITION" => ErrorKind::PermissionDenied,
        "NOT_FOUND" => ErrorKind::ModelNotFound,
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "UNIMPLEMENTED" => ErrorKind::UnsupportedFeature,
        "UNAVAILABLE" => ErrorKind::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        "INTERNAL" | "UNKNOWN" | "ABORTED" | "CANCELLED" | "DATA_LOSS" => ErrorKind::Unavailable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(code: u16, status: &str, message: &str) -> Value {
        json!({"error": {"code": code, "message": message, "status": status}})
    }

    fn detailed(status: &str, details: &Value) -> Fault {
        let error = json!({"error": {"code": 429, "message": "m", "status": status,
            "details": details}});
        reported(&error, Some(429)).unwrap()
    }

    #[test]
    fn errors_are_told_apart_by_reason_then_sentence_then_name_then_status() {
        let key = json!([{"error": {"code": 400, "message": "API key not valid.",
            "status": "INVALID_ARGUMENT", "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]}}]);
        let long = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).";
        let both = "Function calling with a response mime type: 'application/json' is unsupported";
        let country = "User location is not supported for the API use.";
        let nobody =
            "Method doesn't allow unregistered callers (callers without established identity).";
        let table = [
            (key, ErrorKind::Auth),
            (error(400, "INVALID_ARGUMENT", long), ErrorKind::ContextLength),
            (error(400, "INVALID_ARGUMENT", both), ErrorKind::UnsupportedFeature),
            (error(400, "INVALID_ARGUMENT", "bad"), ErrorKind::InvalidRequest),
            (error(400, "FAILED_PRECONDITION", country), ErrorKind::PermissionDenied),
            (error(401, "UNAUTHENTICATED", "m"), ErrorKind::Auth),
            (error(403, "PERMISSION_DENIED", nobody), ErrorKind::Auth),
            (error(403, "PERMISSION_DENIED", "m"), ErrorKind::PermissionDenied),
            (error(404, "NOT_FOUND", "models/x is not found"), ErrorKind::ModelNotFound),
            (error(429, "RESOURCE_EXHAUSTED", "m"), ErrorKind::RateLimited),
            (error(429, "RESOURCE_EXHAUSTED", "limit: 10"), ErrorKind::RateLimited),
            (error(429, "RESOURCE_EXHAUSTED", "x, limit: 0, model: y"), ErrorKind::QuotaExhausted),
            (error(500, "INTERNAL", "m"), ErrorKind::Unavailable),
            (error(503, "UNAVAILABLE", "The model is overloaded."), ErrorKind::Overloaded),
            (error(504, "DEADLINE_EXCEEDED", "m"), ErrorKind::Timeout),
            (error(503, "NEW_NAME", "m"), ErrorKind::Overloaded),
            (json!({"error": "m"}), ErrorKind::Unavailable),
        ];
        for (document, kind) in table {
            assert_eq!(reported(&document, None).unwrap().kind, kind, "{document}");
        }
    }

    #[test]
    fn the_wait_is_read_from_the_retry_info() {
        let wait = |delay: &str| {
            let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": delay}]);
            detailed("RESOURCE_EXHAUSTED", &info).retry_after
        };
        let table = [
            ("37s", Some(37_000)),
            ("0.5s", Some(500)),
            ("11.665902715s", Some(11_665)),
            ("-1s", Some(0)),
            ("37", None),
            ("soon", None),
            ("infs", None),
            ("1e300s", None),
        ];
        for (text, expected) in table {
            assert_eq!(wait(text).map(|wait| wait.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn a_quota_of_the_day_is_not_waited_for() {
        let quota = |id: &str, value: &str| {
            let details = json!([
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                    {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"},
                    {"quotaId": id, "quotaValue": value},
                ]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"},
            ]);
            let fault = detailed("RESOURCE_EXHAUSTED", &details);
            (fault.kind, fault.retry_after.map(|wait| wait.as_secs()))
        };
        let day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
        let minute = "GenerateContentInputTokensPerModelPerMinute-FreeTier";
        assert_eq!(quota(day, "50"), (ErrorKind::QuotaExhausted, None));
        assert_eq!(quota(minute, "0"), (ErrorKind::QuotaExhausted, None));
        assert_eq!(quota(minute, "250000"), (ErrorKind::RateLimited, Some(47)));
    }

    #[test]
    fn the_code_is_the_reason_where_there_is_one() {
        let info = json!([{"@type": "x.google.rpc.ErrorInfo", "reason": "SOME_REASON"}]);
        let fault = detailed("RESOURCE_EXHAUSTED", &info);
        assert_eq!(fault.code.as_deref(), Some("SOME_REASON"));
        let fault = detailed("RESOURCE_EXHAUSTED", &json!([]));
        assert_eq!(fault.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
    }

    #[test]
    fn a_document_is_an_error_only_if_it_says_so() {
        for document in [json!({"candidates": []}), json!({"error": null}), json!([]), json!(1)] {
            assert_eq!(reported(&document, None), None, "{document}");
        }
    }
}
