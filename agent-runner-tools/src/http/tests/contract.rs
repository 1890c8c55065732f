//! The HTTP tools keep the contract of `Tool`.

use std::{collections::BTreeSet, sync::Arc};

use agent_runner_core::{testing::tool_contract::ToolHarness, tool_contract};
use async_trait::async_trait;

use super::*;

/// A server that answers, one path that takes its time, and one tool.
#[derive(Debug)]
struct World {
    server: MockServer,
    tool: Arc<dyn Tool>,
}

impl World {
    async fn new(tool: impl FnOnce(HttpClient) -> Arc<dyn Tool>) -> Self {
        let server = MockServer::start().await;
        let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
        Mock::given(path("/slow")).respond_with(slow).mount(&server).await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let tool = tool(client(&[*server.address()]));
        Self { server, tool }
    }

    fn url(&self, path: &str) -> Value {
        json!({"url": format!("{}{path}", self.server.uri())})
    }

    fn refused(&self) -> Vec<Value> {
        let host = self.server.address();
        [
            "http://127.0.0.1:1/".to_owned(),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            format!("http://user:hunter2@{host}/"),
            format!("http://{host}/\n"),
            "file:///etc/passwd".to_owned(),
            "not a url".to_owned(),
        ]
        .iter()
        .map(|url| json!({ "url": url }))
        .collect()
    }

    /// What a server that honours `Idempotency-Key` has done: one thing for each key.
    async fn effects(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let posts = requests.iter().filter(|request| request.method.as_str() == "POST");
        let keys: BTreeSet<String> = posts
            .map(|request| request.headers["idempotency-key"].to_str().unwrap().to_owned())
            .collect();
        keys.into_iter().collect()
    }
}

macro_rules! harness {
    ($name:ident, $tool:expr) => {
        #[derive(Debug)]
        struct $name(World);

        #[async_trait]
        impl ToolHarness for $name {
            async fn open() -> Self {
                Self(World::new($tool).await)
            }

            fn tool(&self) -> Arc<dyn Tool> {
                self.0.tool.clone()
            }

            fn valid(&self) -> Value {
                self.0.url("/")
            }

            fn refused(&self) -> Vec<Value> {
                self.0.refused()
            }

            fn private(&self) -> Vec<String> {
                vec![
                    "hunter2".to_owned(),
                    "/etc/".to_owned(),
                    env!("CARGO_MANIFEST_DIR").to_owned(),
                ]
            }

            async fn effects(&self) -> Vec<String> {
                self.0.effects().await
            }

            fn lasting(&self) -> Option<Value> {
                Some(self.0.url("/slow"))
            }
        }
    };
}

harness!(Get, |client| Arc::new(Typed::new(HttpGet::new(client))));
harness!(PostAsk, |client| Arc::new(HttpPost::new(client)));
harness!(PostIdempotent, |client| {
    Arc::new(HttpPost::with_policy(client, EffectPolicy::Idempotent).unwrap())
});

mod http_get {
    use super::*;

    tool_contract!(Get);
}

mod http_post_that_asks {
    use super::*;

    tool_contract!(PostAsk);
}

mod http_post_that_is_idempotent {
    use super::*;

    tool_contract!(PostIdempotent);
}
