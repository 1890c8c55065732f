//! Texts as vectors over real connections.

use agent_runner_core::llm::{
    CallCx, EmbedPurpose, EmbedRequest, Embedder, ErrorKind, ProviderError,
};
use serde_json::{Value, json};

use crate::service::{Answer, Request, Service};

fn request(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        model: "e".to_owned(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        purpose: EmbedPurpose::Document,
        dimensions: None,
    }
}

async fn error(embedder: &dyn Embedder, request: &EmbedRequest) -> ProviderError {
    embedder.embed(request, &CallCx::new("1")).await.unwrap_err()
}

/// A vector that tells its text's length.
fn vector(text: &Value) -> Value {
    json!([text.as_str().unwrap().len(), 1])
}

#[cfg(feature = "openai")]
mod openai {
    use agent_runner_core::llm::SendState;
    use agent_runner_providers::OpenAiProvider;
    use secrecy::SecretString;

    use super::*;

    fn embedder(service: &Service) -> OpenAiProvider {
        OpenAiProvider::new(&service.url(), Some(SecretString::from("sk-embed-9"))).unwrap()
    }

    /// Answers in the opposite order, as the API may.
    fn answer(request: &Request) -> Answer {
        let texts = request.body["input"].as_array().unwrap();
        let mut data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"index": index, "embedding": vector(text)}))
            .collect();
        data.reverse();
        Answer::ok(&json!({"data": data, "usage": {"prompt_tokens": texts.len()}}).to_string())
    }

    #[tokio::test]
    async fn many_texts_are_asked_in_batches_and_come_back_in_order() {
        let service = Service::start(answer).await;
        let texts: Vec<String> = (0..600_usize).map(|length| "x".repeat(length)).collect();
        let request = EmbedRequest { texts, dimensions: Some(2), ..request(&[]) };
        let embeddings = embedder(&service).embed(&request, &CallCx::new("1")).await.unwrap();
        let told: Vec<String> =
            embeddings.vectors.iter().map(|vector| vector[0].to_string()).collect();
        let lengths: Vec<String> = (0..600).map(|length| length.to_string()).collect();
        assert_eq!(told, lengths);
        assert_eq!(embeddings.usage.input, Some(600));
        let sent = service.requests();
        assert_eq!(sent.len(), 3);
        assert_eq!(sent[0].line, "POST /v1/embeddings");
        assert_eq!(sent[0].body["encoding_format"], "float");
        assert_eq!((&sent[0].body["model"], &sent[0].body["dimensions"]), (&json!("e"), &json!(2)));
    }

    #[tokio::test]
    async fn no_text_needs_no_request() {
        let service = Service::start(answer).await;
        let embeddings = embedder(&service).embed(&request(&[]), &CallCx::new("1")).await.unwrap();
        assert_eq!((embeddings.vectors.len(), service.requests().len()), (0, 0));
    }

    #[tokio::test]
    async fn a_refusal_or_another_length_than_asked_is_an_error() {
        let long = r#"{"error":{"message":"This model's maximum context length is 8192 tokens, sk-embed-9","code":null}}"#;
        let service = Service::always(Answer::new(400, &[], long)).await;
        let refused = error(&embedder(&service), &request(&["a"])).await;
        assert_eq!((refused.kind(), refused.sent()), (ErrorKind::ContextLength, SendState::Sent));
        assert!(!refused.to_string().contains("sk-embed-9"), "{refused}");
        let service = Service::start(answer).await;
        let other = EmbedRequest { dimensions: Some(3), ..request(&["a"]) };
        assert_eq!(error(&embedder(&service), &other).await.kind(), ErrorKind::UnsupportedFeature);
    }
}

#[cfg(feature = "ollama")]
mod ollama {
    use agent_runner_providers::OllamaProvider;

    use super::*;

    fn answer(request: &Request) -> Answer {
        let texts = request.body["input"].as_array().unwrap();
        let vectors: Vec<Value> = texts.iter().map(vector).collect();
        Answer::ok(&json!({"embeddings": vectors, "prompt_eval_count": 2}).to_string())
    }

    #[tokio::test]
    async fn texts_come_back_as_vectors_and_none_is_cut_in_silence() {
        let service = Service::start(answer).await;
        let embedder = OllamaProvider::new(&service.url()).unwrap();
        let request = EmbedRequest { dimensions: Some(2), ..request(&["a", "bcd"]) };
        let embeddings = embedder.embed(&request, &CallCx::new("1")).await.unwrap();
        assert_eq!(embeddings.vectors, [[1.0, 1.0], [3.0, 1.0]]);
        assert_eq!(embeddings.usage.input, Some(2));
        let sent = &service.requests()[0];
        assert_eq!(sent.line, "POST /api/embed");
        assert_eq!(
            sent.body,
            json!({"model": "e", "input": ["a", "bcd"], "truncate": false, "dimensions": 2})
        );
    }

    #[tokio::test]
    async fn a_text_that_is_too_long_or_a_strange_answer_is_an_error() {
        let long = r#"{"error":"the input length exceeds the context length"}"#;
        let table = [
            (400, long, ErrorKind::ContextLength),
            (
                404,
                r#"{"error":"model \"e\" not found, try pulling it first"}"#,
                ErrorKind::ModelNotFound,
            ),
            (200, r#"{"embeddings":[]}"#, ErrorKind::MalformedResponse),
            (200, r#"{"error":"out of memory"}"#, ErrorKind::Unavailable),
            (200, "<html>", ErrorKind::MalformedResponse),
        ];
        for (status, body, kind) in table {
            let service = Service::always(Answer::new(status, &[], body)).await;
            let embedder = OllamaProvider::new(&service.url()).unwrap();
            let error = error(&embedder, &request(&["a"])).await;
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
