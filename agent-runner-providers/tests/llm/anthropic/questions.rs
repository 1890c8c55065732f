//! What is asked besides replies: the list of models and the length of a prompt.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_runner_core::llm::{ErrorKind, LlmProvider as _, LlmRequest, ReasoningEffort};
use serde_json::{Value, json};

use super::{MODEL, cx, error, provider, request};
use crate::service::{Answer, Service};

#[tokio::test]
async fn the_models_are_read_page_by_page_and_remembered() {
    let service = Service::start(|request| {
        let model = |id: &str, more: Value| {
            let mut model = json!({"type": "model", "id": id, "lifecycle": "active"});
            model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            model
        };
        let body = if request.line.contains("after_id=b%26c") {
            json!({"has_more": false, "last_id": "old", "data": [
                model("old", json!({"lifecycle": "retired"})),
                model("last", json!({"lifecycle": "deprecated"})),
            ]})
        } else {
            json!({"has_more": true, "last_id": "b&c", "data": [
                model("a", json!({"max_input_tokens": 1000, "max_tokens": 77, "capabilities": {
                    "structured_outputs": {"supported": true}, "image_input": {"supported": false},
                    "thinking": {"supported": true, "types": {}}}})),
                model("b&c", json!({})),
            ]})
        };
        Answer::ok(&body.to_string())
    })
    .await;
    let provider = provider(&service);
    assert_eq!(provider.capabilities("a").max_output, None);
    let models = provider.models(&cx()).await.unwrap();
    let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["a", "b&c", "last"]);
    let known = provider.capabilities("a");
    assert_eq!(known, models[0].capabilities);
    assert_eq!((known.context_window, known.max_output), (Some(1000), Some(77)));
    assert_eq!((known.json_schema, known.vision), (Some(true), Some(false)));
    assert_eq!((known.schema_with_tools, known.reasoning), (Some(true), Some(true)));
    let lines: Vec<_> = service.requests().iter().map(|sent| sent.line.clone()).collect();
    assert_eq!(lines, ["GET /v1/models?limit=1000", "GET /v1/models?limit=1000&after_id=b%26c"]);
    // What the service said is the limit of the next request.
    let request = LlmRequest::new("a", request().messages);
    drop(provider.stream(&request, &cx()).await);
    assert_eq!(service.requests().pop().unwrap().body["max_tokens"], 77);
}

#[tokio::test]
async fn a_list_of_models_that_never_ends_or_is_none_is_not_read_forever() {
    let body = json!({"has_more": true, "last_id": "a", "data": [{"id": "a"}]}).to_string();
    let service = Service::always(Answer::ok(&body)).await;
    assert_eq!(provider(&service).models(&cx()).await.unwrap().len(), 2);
    let counter = Arc::new(AtomicUsize::new(0));
    let endless = Service::start(move |_| {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        let body =
            json!({"has_more": true, "last_id": n.to_string(), "data": [{"id": n.to_string()}]});
        Answer::ok(&body.to_string())
    })
    .await;
    assert_eq!(provider(&endless).models(&cx()).await.unwrap().len(), 8);
    let strange = Service::always(Answer::ok("<html>")).await;
    let kind = provider(&strange).models(&cx()).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::MalformedResponse);
    let refused = Answer::new(401, &[], &error("authentication_error", "invalid x-api-key"));
    let refused = Service::always(refused).await;
    assert_eq!(provider(&refused).models(&cx()).await.unwrap_err().kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn a_prompt_is_counted_by_the_service_where_it_counts() {
    let service = Service::always(Answer::ok(r#"{"input_tokens": 2095}"#)).await;
    let mut request = request();
    request.reasoning = Some(ReasoningEffort::Low);
    assert_eq!(provider(&service).count_tokens(&request, &cx()).await.unwrap(), Some(2095));
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /v1/messages/count_tokens");
    assert_eq!(
        sent.body,
        json!({
            "model": MODEL,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "low"},
        })
    );
    let missing = Service::always(Answer::new(404, &[], "<html>")).await;
    assert_eq!(provider(&missing).count_tokens(&request, &cx()).await.unwrap(), None);
    for (answer, kind) in [
        (Answer::new(404, &[], &error("not_found_error", "model")), ErrorKind::ModelNotFound),
        (Answer::new(529, &[], ""), ErrorKind::Overloaded),
        (Answer::ok("{}"), ErrorKind::MalformedResponse),
    ] {
        let service = Service::always(answer).await;
        let error = provider(&service).count_tokens(&request, &cx()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}
