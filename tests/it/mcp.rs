//! Tools of an MCP server over the real service: a real program, a project that may have it and one
//! that may not, and its death.

use std::{net::TcpListener, path::Path};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::server::{Server, Site};

struct Place {
    _directory: tempfile::TempDir,
    /// What the program reports to.
    told: TcpListener,
    _server: Server,
    site: Site,
    client: Client,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let told = TcpListener::bind("127.0.0.1:0").unwrap();
        let binaries = Path::new(env!("CARGO_BIN_EXE_agent-runner")).parent().unwrap();
        let program = binaries.join("examples/mcp_test_server");
        assert!(program.exists(), "build the examples first: {}", program.display());
        let file = format!(
            "[[mcp_servers]]\nname = \"test\"\nprogram = {:?}\nargs = [\"{}\", \"plain\"]\n\
             env_from = {{ TOKEN = \"TEST_TOKEN\" }}\ndeny = [\"hang\"]\n",
            program.to_str().unwrap(),
            told.local_addr().unwrap(),
        );
        std::fs::write(directory.path().join("agent-runner.toml"), file).unwrap();
        let mut site = Site::new(directory.path());
        site.set("TEST_TOKEN", "hunter2-hunter2");
        let server = site.start().await;
        let place =
            Self { _directory: directory, told, _server: server, site, client: Client::new() };
        while place.server().await["status"] != "ready" {
            tokio::task::yield_now().await;
        }
        place
    }

    async fn server(&self) -> Value {
        let answer = self.client.get(self.site.url("/mcp/servers")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["items"][0].clone()
    }

    async fn project(&self, name: &str, sources: &[&str]) -> String {
        let new = json!({"name": name, "settings": {"tool_sources": sources}});
        let made = self.client.post(self.site.url("/projects")).json(&new).send().await.unwrap();
        made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn call(&self, project: &str, tool: &str, arguments: Value) -> (u16, Value) {
        let call = json!({"project_id": project, "arguments": arguments});
        let url = self.site.url(&format!("/tools/{tool}/invoke"));
        let answer = self.client.post(url).json(&call).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_project_that_lists_a_server_has_its_tools() {
    let place = Place::new().await;
    let server = place.server().await;
    assert_eq!(server["name"], "test");
    let tools: Vec<&str> =
        server["tools"].as_array().unwrap().iter().map(|tool| tool.as_str().unwrap()).collect();
    assert!(tools.contains(&"test.echo") && !tools.contains(&"test.hang"), "{tools:?}");

    let project = place.project("with", &["test"]).await;
    let (status, made) = place.call(&project, "test.echo", json!({"text": "hello"})).await;
    assert_eq!((status, &made["output"]), (200, &json!("hello")), "{made}");
    assert_eq!((&made["untrusted"], &made["risk"]), (&json!("mcp:test"), &json!("outward")));
    let (status, problem) = place.call(&project, "test.echo", json!({"text": 5})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("validation")), "{problem}");
    // The server has its secret, and nobody else.
    let (_, made) = place.call(&project, "test.env", json!({})).await;
    let environment = made["output"].as_str().unwrap();
    assert!(environment.contains("TOKEN=[redacted]"), "{environment}");
    assert!(!environment.contains("AGENT_RUNNER"), "{environment}");
    assert!(!place.site.log().contains("hunter2"));

    let project = place.project("without", &[]).await;
    let (status, problem) = place.call(&project, "test.echo", json!({"text": "hello"})).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{problem}");
}

#[tokio::test]
async fn a_server_that_dies_is_an_error_and_comes_back() {
    let place = Place::new().await;
    let project = place.project("p", &["*"]).await;
    let (status, problem) = place.call(&project, "test.die", json!({})).await;
    assert_eq!((status, &problem["code"]), (502, &json!("upstream_error")), "{problem}");
    // It reports twice: when it began, and when it began again.
    let _first = place.told.accept().unwrap();
    let _second = place.told.accept().unwrap();
    let (status, made) = place.call(&project, "test.echo", json!({"text": "again"})).await;
    assert_eq!((status, &made["output"]), (200, &json!("again")), "{made}");
}

#[tokio::test]
async fn a_secret_in_the_file_and_a_server_without_an_address_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::new(directory.path());
    let file = "[[mcp_servers]]\nname = \"a\"\ntoken = \"hunter2\"\n\n[[mcp_servers]]\n\
                name = \"b\"\nurl = \"https://b.example/\"\nheaders_from = { authorization = \"NOT_SET\" }\n\n\
                [[git_credentials]]\nname = \"g\"\nhost = \"g.example\"\nusername = \"u\"\npassword = \"hunter2\"\n";
    std::fs::write(directory.path().join("agent-runner.toml"), file).unwrap();
    let output = site.command(&["serve"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for expected in [
        "line 3: `token`: a secret may not stand in this file",
        "line 1: an MCP server needs a `program` or a `url`",
        "the variable NOT_SET is not set",
        "`password`: a secret may not stand in this file",
        "a Git credential needs a `password_env`",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}
