//! What the service says of its models, and of the length of a request.

use agent_runner_core::{
    llm::{ErrorKind, LlmProvider as _, ReasoningEffort},
    message::{Message, Role},
};

use super::{MODEL, bad_key, cx, provider, request};
use crate::service::{Answer, Request, Service, hear};

#[tokio::test]
async fn tokens_are_counted_with_instructions_and_tools() {
    let service = Service::always(Answer::ok("{\"totalTokens\":31}")).await;
    let mut request = request();
    request.messages.insert(0, Message::text(Role::System, "Be brief."));
    let counted = provider(&service).count_tokens(&request, &cx()).await.unwrap();
    assert_eq!(counted, Some(31));
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /v1beta/models/gemini-3.8-flash:countTokens");
    let asked = &sent.body["generateContentRequest"];
    assert_eq!(asked["model"], "models/gemini-3.8-flash");
    assert_eq!(asked["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(asked["tools"][0]["functionDeclarations"][0]["name"], "files.write");
    let strange = Service::always(Answer::ok("<html>")).await;
    let error = provider(&strange).count_tokens(&request, &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
}

#[tokio::test]
async fn the_models_are_those_that_answer_and_what_they_can_do_is_remembered() {
    let service = Service::start(|request: &Request| {
        Answer::ok(match request.line.as_str() {
            "GET /v1beta/models?pageSize=1000" => {
                r#"{"models":[
                    {"name":"models/gemini-3.8-flash","inputTokenLimit":1048576,"outputTokenLimit":65536,
                        "supportedGenerationMethods":["generateContent","countTokens"],"thinking":true},
                    {"name":"models/gemini-embedding-001","inputTokenLimit":2048,
                        "supportedGenerationMethods":["embedContent"]},{}],
                    "nextPageToken":"a/b=&c"}"#
            }
            "GET /v1beta/models?pageSize=1000&pageToken=a%2Fb%3D%26c" => {
                r#"{"models":[{"name":"models/gemini-3-nano","thinking":false,
                    "supportedGenerationMethods":["generateContent"]}]}"#
            }
            _ => "{}",
        })
    })
    .await;
    let provider = provider(&service);
    assert_eq!(provider.capabilities(MODEL).context_window, None);
    let models = provider.models(&cx()).await.unwrap();
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["gemini-3.8-flash", "gemini-3-nano"]);
    for name in [MODEL, "models/gemini-3.8-flash"] {
        let known = provider.capabilities(name);
        assert_eq!(known, models[0].capabilities);
        assert_eq!((known.context_window, known.max_output), (Some(1_114_112), Some(65_536)));
        assert_eq!((known.reasoning, known.json_schema), (Some(true), Some(true)));
        assert_eq!((known.schema_with_tools, known.tools), (Some(false), None));
    }
    assert_eq!(models[1].capabilities.reasoning, Some(false));
    let mut request = request();
    request.model = "gemini-3-nano".to_owned();
    request.reasoning = Some(ReasoningEffort::High);
    let (_, _) = hear(&provider, &request, &cx()).await;
    let sent = service.requests().pop().unwrap();
    assert_eq!(sent.body.get("generationConfig"), None, "it does not think: {}", sent.body);
}

#[tokio::test]
async fn a_list_of_models_without_end_is_given_up() {
    let service = Service::always(Answer::ok(r#"{"models":[],"nextPageToken":"again"}"#)).await;
    let error = provider(&service).models(&cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    assert_eq!(service.requests().len(), 32);
    let refused = Service::always(Answer::new(400, &[], &bad_key())).await;
    let error = provider(&refused).models(&cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
}
