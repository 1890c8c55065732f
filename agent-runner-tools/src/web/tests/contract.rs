//! The web tools keep the contract of `Tool`.

use std::time::Duration;

use agent_runner_core::{testing::tool_contract::ToolHarness, tool_contract};
use async_trait::async_trait;
use wiremock::matchers::any;

use super::*;

/// A server that answers, one path that takes its time, and one tool.
#[derive(Debug)]
struct World {
    server: MockServer,
    tool: Arc<dyn Tool>,
    more: Value,
}

impl World {
    async fn new(tool: impl FnOnce(Web) -> Arc<dyn Tool>, more: Value) -> Self {
        let server = MockServer::start().await;
        Mock::given(path("/robots.txt"))
            .respond_with(ResponseTemplate::new(404))
            .mount(&server)
            .await;
        let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
        Mock::given(path("/slow")).respond_with(slow).mount(&server).await;
        let page = ResponseTemplate::new(200).set_body_raw("<p>hello</p>", "text/html");
        Mock::given(any()).respond_with(page).mount(&server).await;
        let tool = tool(web_of(&server, options()));
        Self { server, tool, more }
    }

    fn of(&self, url: &str) -> Value {
        let mut arguments = self.more.clone();
        arguments["url"] = url.into();
        arguments
    }

    fn url(&self, path: &str) -> Value {
        self.of(&format!("{}{path}", self.server.uri()))
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
        .map(|url| self.of(url))
        .collect()
    }

    async fn effects(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let posts = requests.iter().filter(|request| request.method.as_str() == "POST");
        posts.map(|request| request.url.to_string()).collect()
    }
}

macro_rules! harness {
    ($name:ident, $tool:expr, $more:expr) => {
        #[derive(Debug)]
        struct $name(World);

        #[async_trait]
        impl ToolHarness for $name {
            async fn open() -> Self {
                Self(World::new($tool, $more).await)
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

harness!(Fetch, |web| Arc::new(Typed::new(WebFetch::new(web))), json!({}));
harness!(Extract, |web| Arc::new(Typed::new(WebExtract::new(web))), json!({"css": "p"}));
harness!(Post, |web| Arc::new(Typed::new(WebPost::new(web))), json!({"body": "x"}));

mod web_fetch {
    use super::*;

    tool_contract!(Fetch);
}

mod web_extract {
    use super::*;

    tool_contract!(Extract);
}

mod web_post {
    use super::*;

    tool_contract!(Post);
}
