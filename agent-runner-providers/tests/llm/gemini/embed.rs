//! Texts as vectors.

use agent_runner_core::llm::{EmbedPurpose, EmbedRequest, Embedder as _, ErrorKind};
use serde_json::{Value, json};

use super::{KEY, bad_key, cx, provider};
use crate::service::{Answer, Request, Service};

pub fn texts(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        model: "gemini-embedding-001".to_owned(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        purpose: EmbedPurpose::Document,
        dimensions: None,
    }
}

/// Numbers the texts of a request from 0.
fn vectors(request: &Request) -> Answer {
    let entries = request.body["requests"].as_array().unwrap();
    let vectors: Vec<Value> = (0..entries.len()).map(|n| json!({"values": [n, 0.5]})).collect();
    Answer::ok(&json!({"embeddings": vectors}).to_string())
}

#[tokio::test]
async fn each_text_is_an_entry_of_its_own_and_many_are_sent_in_several_requests() {
    let service = Service::start(vectors).await;
    let many = vec!["x"; 130];
    let request = EmbedRequest {
        model: "models/gemini-embedding-001".to_owned(),
        purpose: EmbedPurpose::Query,
        dimensions: Some(2),
        ..texts(&many)
    };
    let embedded = provider(&service).embed(&request, &cx()).await.unwrap();
    assert_eq!(embedded.vectors.len(), 130);
    assert_eq!(
        (&embedded.vectors[99], &embedded.vectors[100]),
        (&vec![99.0, 0.5], &vec![0.0, 0.5])
    );
    let sent = service.requests();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].line, "POST /v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(sent[1].body["requests"].as_array().unwrap().len(), 30);
    assert_eq!(
        sent[0].body["requests"][0],
        json!({
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": "x"}]},
            "taskType": "RETRIEVAL_QUERY",
            "outputDimensionality": 2,
        })
    );
}

#[tokio::test]
async fn vectors_that_are_missing_short_or_no_numbers_are_an_error() {
    for (answer, dimensions) in [
        (r#"{"embeddings":[{"values":[1.0]}]}"#, None),
        (r#"{"embeddings":[{"values":[1.0]},{"values":[1.0,2.0]}]}"#, None),
        (r#"{"embeddings":[{"values":[1.0]},{"values":[1.0]}]}"#, Some(3)),
        (r#"{"embeddings":[{"values":[1e300]},{"values":[1.0]}]}"#, None),
        (r#"{"embeddings":[{},{}]}"#, None),
        ("[]", None),
    ] {
        let service = Service::always(Answer::ok(answer)).await;
        let request = EmbedRequest { dimensions, ..texts(&["a", "b"]) };
        let error = provider(&service).embed(&request, &cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{answer}: {error}");
    }
    let refused = Service::always(Answer::new(400, &[], &bad_key())).await;
    let error = provider(&refused).embed(&texts(&["a"]), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn a_text_that_the_model_would_cut_is_refused_and_one_that_only_looks_long_is_not() {
    let service = Service::start(|request: &Request| match request.line.as_str() {
        "GET /v1beta/models/gemini-embedding-001" => Answer::ok("{\"inputTokenLimit\":2048}"),
        line if line.ends_with(":countTokens") => {
            let text = request.body["contents"][0]["parts"][0]["text"].as_str().unwrap();
            Answer::ok(&json!({"totalTokens": text.len() / 4}).to_string())
        }
        _ => vectors(request),
    })
    .await;
    let provider = provider(&service);
    let (fits, looks_long, long) = ("x".repeat(2000), "x".repeat(8000), "x".repeat(9000));
    let embedded = provider.embed(&texts(&[&fits, &looks_long]), &cx()).await.unwrap();
    assert_eq!(embedded.vectors.len(), 2);
    let error = provider.embed(&texts(&["a", &long]), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    assert!(error.context().starts_with("text 2 is longer than the 2048 tokens"), "{error}");
    let lines: Vec<String> = service.requests().into_iter().map(|it| it.line).collect();
    let asked = lines.iter().filter(|line| line.starts_with("GET ")).count();
    assert_eq!((asked, lines.len()), (1, 4), "{lines:?}");
}
