//! What a run says when its model's service does wrong: which kind of error, in words that somebody
//! can act on, with the service's id of the request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    engine::{Engine, NewRun},
    id::IdSource,
    llm::LlmProvider,
    run::RunStatus,
    step::StepStatus,
    store::{EventQuery, InMemoryStore},
    time::SystemClock,
};
use agent_runner_providers::{
    AnthropicProvider, GeminiProvider, OllamaProvider, OpenAiApi, OpenAiProvider, Timeouts,
};
use agent_runner_tools::StandardTools;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::support::{
    server::PATIENCE,
    upstream::{Upstream, Wire},
};

/// A model that the services may lack.
const MODEL: &str = "tiny-9";

/// Ids that make every wait between two attempts as short as it can be: none.
#[derive(Debug, Default)]
struct Impatient(AtomicU64);

impl IdSource for Impatient {
    fn next(&self) -> Uuid {
        // The jitter is the number modulo 1,000.
        let n = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Uuid::from_u128(u128::from(n) * 1_000)
    }
}

fn provider(wire: Wire, url: &str) -> Arc<dyn LlmProvider> {
    let key = SecretString::from("sk-0123456789abcdef");
    let openai = |key| OpenAiProvider::new(url, Some(key)).unwrap();
    match wire {
        Wire::OpenAi => Arc::new(openai(key)),
        Wire::Responses => {
            Arc::new(openai(key).with_api(OpenAiApi::Responses).with_id(wire.name()))
        }
        Wire::Anthropic => Arc::new(AnthropicProvider::new(url, Some(key)).unwrap()),
        Wire::Gemini => Arc::new(GeminiProvider::new(url, Some(key)).unwrap()),
        Wire::Ollama => Arc::new(OllamaProvider::new(url).unwrap().with_key(key).unwrap()),
    }
}

/// What became of a run, as those see it who look at it.
struct Failed {
    /// The error of its first step.
    code: String,
    message: String,
    /// What the run itself says.
    run: String,
    attempts: u32,
}

async fn failed(wire: Wire, url: &str) -> Failed {
    failed_with(provider(wire, url)).await
}

async fn failed_with(provider: Arc<dyn LlmProvider>) -> Failed {
    let model = format!("{}/{MODEL}", provider.id());
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .shared_provider(provider)
        .ids(Arc::new(Impatient::default()))
        .build()
        .unwrap();
    let handle = engine.start();
    let mut new = NewRun::new("g");
    new.model = Some(model);
    let id = engine.create_run(new).await.unwrap().run.id;
    let run = engine.join(id, PATIENCE).await.unwrap();
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let step = engine.steps(id).await.unwrap().swap_remove(0);
    assert_eq!(step.status, StepStatus::Failed);
    let error = step.error.unwrap();
    handle.shutdown(PATIENCE).await;
    Failed {
        code: error.code,
        message: error.message,
        run: run.error.unwrap().message,
        attempts: step.attempts,
    }
}

/// A service that does wrong in that way makes runs fail with that kind of error, after so many
/// attempts, in words that contain all of these.
async fn fails(way: &str, code: &str, attempts: u32, words: &[&str]) {
    fail(&Wire::ALL, way, code, (attempts, words)).await;
}

async fn fail(wires: &[Wire], way: &str, code: &str, (attempts, words): (u32, &[&str])) {
    let upstream = Upstream::start().await;
    for &wire in wires {
        let failed = failed(wire, &upstream.honest_url(wire, way)).await;
        assert_eq!(failed.code, code, "{wire:?}: {}", failed.message);
        assert_eq!(failed.attempts, attempts, "{wire:?}: {}", failed.message);
        for word in words.iter().chain(&["request req_42", wire.name()]) {
            assert!(failed.message.contains(word), "{wire:?}: no `{word}` in {}", failed.message);
            assert!(failed.run.contains(word), "{wire:?}: no `{word}` in {}", failed.run);
        }
        assert!(
            failed.message.len() < 2_000 && !failed.message.contains('\n'),
            "{}",
            failed.message
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_says_so() {
    fails("refuses", "auth", 1, &["HTTP 401", "check the API key"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_missing_is_asked_for() {
    let upstream = Upstream::start().await;
    let url = upstream.honest_url(Wire::OpenAi, "refuses");
    let failed = failed_with(Arc::new(OpenAiProvider::new(&url, None).unwrap())).await;
    assert_eq!((failed.code.as_str(), failed.attempts), ("auth", 1));
    assert!(failed.run.contains("set an API key (HTTP 401)"), "{}", failed.run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_does_not_exist_is_named() {
    fails("unknown", "model_not_found", 1, &["nothing of that name", MODEL, "HTTP 404"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_proxy_is_an_unavailable_service_and_not_a_page_in_the_run() {
    fails("proxy", "unavailable", 1, &["HTTP 502", "answered with a web page"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_off_is_never_a_shorter_reply() {
    fails("cut", "stream_truncated", 5, &["ended the stream before the reply was complete"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_behind_a_good_status_is_an_error() {
    fails("document", "unavailable", 5, &["is not what it should be"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_the_middle_of_a_reply_is_an_error() {
    fails("breaks", "unavailable", 5, &["is not what it should be"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_behind_a_good_status_is_no_reply() {
    let (ollama, others): (Vec<Wire>, _) = Wire::ALL.iter().partition(|it| **it == Wire::Ollama);
    fail(&others, "page", "malformed_response", (2, &["is the base URL right?"])).await;
    fail(&ollama, "page", "malformed_response", (2, &["check OLLAMA_HOST"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_end_does_not_fill_the_memory() {
    // One of each decoder: much is sent before the bound.
    let wires = [Wire::OpenAi, Wire::Ollama];
    fail(&wires, "endless-line", "malformed_response", (2, &["larger than"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_end_does_not_fill_the_memory() {
    fail(&[Wire::OpenAi], "endless", "malformed_response", (2, &["larger than"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_and_a_port_without_a_server_say_where_they_were_looked_for() {
    let upstream = Upstream::start().await;
    for wire in Wire::ALL {
        let url = upstream.base_url(wire, "honest");
        let port = url.split('/').nth(2).unwrap().to_owned();
        let tls = failed(wire, &url.replace("http://", "https://")).await;
        assert_eq!((tls.code.as_str(), tls.attempts), ("network", 5), "{}", tls.message);
        assert!(tls.run.contains(&format!("cannot connect to https://{port}")), "{}", tls.run);
        assert!(tls.run.contains("TLS: is it http:// there?"), "{}", tls.run);
        let nobody = failed(wire, "http://127.0.0.1:1/v1beta").await;
        assert_eq!((nobody.code.as_str(), nobody.attempts), ("network", 5), "{}", nobody.message);
        let refused = "cannot connect to http://127.0.0.1:1: Connection refused";
        assert!(nobody.run.contains(refused), "{}", nobody.run);
    }
}

/// The address of a server with a certificate for it that nobody vouches for.
async fn untrusted() -> String {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(connection).await.is_err(), "somebody trusts the certificate");
        }
    });
    format!("https://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_never_trusted() {
    let url = untrusted().await;
    for wire in Wire::ALL {
        let failed = failed(wire, &format!("{url}/v1")).await;
        assert_eq!((failed.code.as_str(), failed.attempts), ("network", 5), "{}", failed.message);
        for word in [&format!("cannot connect to {url}"), "certificate", "trust"] {
            assert!(failed.run.contains(word), "no `{word}` in {}", failed.run);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_does_not_resolve_is_in_the_error() {
    // Without a network a resolver may wait for longer than the provider does.
    let patience = Timeouts::default().with_connect(Duration::from_secs(2));
    let provider = OpenAiProvider::new("http://nowhere.invalid", None).unwrap();
    let failed = failed_with(Arc::new(provider.with_timeouts(patience).unwrap())).await;
    assert!(["network", "timeout"].contains(&failed.code.as_str()), "{}", failed.code);
    assert_eq!(failed.attempts, 5);
    assert!(failed.run.contains("cannot connect to http://nowhere.invalid: "), "{}", failed.run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_ten_megabytes_is_a_reply_like_any_other() {
    let upstream = Upstream::start().await;
    let (run, _) = ended(Wire::OpenAi, &upstream.base_url(Wire::OpenAi, "line"), 3).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    assert_eq!(run.output.unwrap().as_str().unwrap().len(), 10 * 1024 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_are_no_json_are_never_executed_and_the_model_is_told() {
    let upstream = Upstream::start().await;
    for wire in [Wire::OpenAi, Wire::Responses, Wire::Anthropic] {
        let (run, events) = ended(wire, &upstream.base_url(wire, "arguments"), 2).await;
        assert_eq!(run.status, RunStatus::Failed, "{run:?}");
        let told = events.iter().find(|(kind, _)| kind == "tool.failed").expect("a failed call");
        assert_eq!(told.1["error"], "invalid_args", "{}", told.1);
        assert!(told.1["for_model"].as_str().unwrap().contains("nothing was run"), "{}", told.1);
        assert!(events.iter().all(|(kind, _)| kind != "tool.completed"));
    }
}

async fn ended(
    wire: Wire,
    url: &str,
    steps: u32,
) -> (agent_runner_core::run::Run, Vec<(String, Value)>) {
    let tools = StandardTools::new(Arc::new(SystemClock)).into_tools();
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .shared_provider(provider(wire, url))
        .tools(tools)
        .build()
        .unwrap();
    let handle = engine.start();
    let mut new = NewRun::new("g");
    new.model = Some(format!("{}/m", wire.name()));
    new.max_steps = Some(steps);
    let id = engine.create_run(new).await.unwrap().run.id;
    let run = engine.join(id, PATIENCE).await.unwrap();
    let events = engine.events(id, &EventQuery::after(0)).await.unwrap();
    handle.shutdown(PATIENCE).await;
    (run, events.into_iter().map(|event| (event.kind, event.payload)).collect())
}
