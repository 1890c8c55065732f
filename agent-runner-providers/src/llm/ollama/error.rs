//! What Ollama's errors mean: a status before the first line, a sentence everywhere.

use agent_runner_core::llm::ErrorKind;
use serde_json::Value;

use crate::{
    http::Refusal,
    llm::{Fault, json},
};

/// The fault of a refused request.
pub(super) fn refused(refusal: &Refusal, model: Option<&str>) -> Fault {
    let status = refusal.status;
    let said = json::parse::<Value>(&refusal.text).ok().and_then(|document| sentence(&document));
    let message = match (&said, status) {
        (Some(said), _) => said.clone(),
        (None, 300..=399) => {
            "the server redirects elsewhere; set OLLAMA_HOST to where it points".to_owned()
        }
        (None, 404 | 405) => "there is no Ollama at this address; check OLLAMA_HOST".to_owned(),
        (None, _) if refusal.text.trim().is_empty() => {
            "the server refused the request without a reason".to_owned()
        }
        (None, _) => match refusal.page_title() {
            Some(title) => {
                format!("something in front of the server answered with a web page: {title}")
            }
            None => refusal.text.clone(),
        },
    };
    let kind = said.as_deref().and_then(kind_of_sentence).unwrap_or(match (&said, status) {
        // Without Ollama's own words nobody looked for the model.
        (None, 404) => ErrorKind::InvalidRequest,
        _ => Fault::kind_of_status(status),
    });
    match (kind, model) {
        (ErrorKind::ModelNotFound, Some(model)) => {
            Fault::new(kind, format!("{message}; run `ollama pull {model}`"))
        }
        _ => Fault::new(kind, message),
    }
}

/// The error that a line of an accepted stream reports, if it does.
pub(super) fn reported(line: &Value) -> Option<Fault> {
    let message = sentence(line)?;
    let kind = kind_of_sentence(&message).unwrap_or(ErrorKind::Unavailable);
    Some(Fault::new(kind, message))
}

fn sentence(document: &Value) -> Option<String> {
    match document.get("error")? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(match other.get("message").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => other.to_string(),
        }),
    }
}

fn kind_of_sentence(sentence: &str) -> Option<ErrorKind> {
    let sentence = sentence.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| sentence.contains(phrase));
    if says(&["does not support"]) {
        Some(ErrorKind::UnsupportedFeature)
    } else if says(&["context length", "context window", "available context size"]) {
        Some(ErrorKind::ContextLength)
    } else if says(&["server busy", "maximum pending requests"]) {
        Some(ErrorKind::Overloaded)
    } else if sentence.starts_with("model ") && sentence.ends_with("not found") {
        Some(ErrorKind::ModelNotFound)
    } else if says(&["requires more system memory"]) {
        // Another try finds no more memory; a person has to choose a smaller model.
        Some(ErrorKind::UnsupportedFeature)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sentences_tell_what_the_status_does_not() {
        let table = [
            ("registry.ollama.ai/library/x does not support tools", ErrorKind::UnsupportedFeature),
            ("\"x\" does not support thinking", ErrorKind::UnsupportedFeature),
            ("the input length exceeds the context length", ErrorKind::ContextLength),
            (
                "server busy, please try again.  maximum pending requests exceeded",
                ErrorKind::Overloaded,
            ),
            ("model 'x' not found", ErrorKind::ModelNotFound),
            (
                "model requires more system memory (9.5 GiB) than is available",
                ErrorKind::UnsupportedFeature,
            ),
            ("llama runner process has terminated", ErrorKind::Unavailable),
        ];
        for (sentence, kind) in table {
            assert_eq!(reported(&json!({"error": sentence})).unwrap().kind, kind, "{sentence}");
        }
        assert_eq!(reported(&json!({"done": false})), None);
        assert_eq!(reported(&json!({"error": null})), None);
    }
}
