//! Programs over the real service: off until a project lists some, confined when it does.
#![cfg(target_os = "linux")]

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::server::{Server, Site};

struct Place {
    _directory: tempfile::TempDir,
    _server: Server,
    site: Site,
    client: Client,
    project: String,
}

impl Place {
    async fn new(settings: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::new(directory.path());
        let server = site.start().await;
        let client = Client::new();
        let new = json!({"name": "p", "settings": settings});
        let made = client.post(site.url("/projects")).json(&new).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        let project = made["id"].as_str().unwrap().to_owned();
        Self { _directory: directory, _server: server, site, client, project }
    }

    async fn run(&self, argv: &[&str]) -> (u16, Value) {
        let call = json!({"project_id": self.project, "arguments": {"argv": argv}});
        let url = self.site.url("/tools/shell.run/invoke");
        let answer = self.client.post(url).json(&call).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn no_program_runs_until_a_project_lists_it() {
    let place = Place::new(json!({})).await;
    let (status, problem) = place.run(&["echo", "hi"]).await;
    assert!(matches!(status, 403 | 404), "{problem}");
    let place = Place::new(json!({"shell": {"programs": ["cat"]}})).await;
    let (status, problem) = place.run(&["echo", "hi"]).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("cat"), "{problem}");
}

#[tokio::test]
async fn a_listed_program_runs_in_the_project_and_reaches_nothing_else() {
    let place = Place::new(json!({"shell": {"programs": ["sh"]}})).await;
    let (status, made) =
        place.run(&["sh", "-c", "echo hi > a.txt; cat a.txt; echo no >&2; exit 3"]).await;
    assert_eq!(status, 200, "{made}");
    let output = &made["output"];
    assert_eq!((&output["exit_code"], &output["stdout"]), (&json!(3), &json!("hi\n")), "{output}");
    assert_eq!(output["stderr"], "no\n");
    let file = place.site.url(&format!("/projects/{}/files/a.txt", place.project));
    assert_eq!(place.client.get(file).send().await.unwrap().text().await.unwrap(), "hi\n");

    // The database of the server, the server itself over the network, and its environment.
    let database = place.site.url("").replace("http://", "");
    let script = format!(
        "ls ../.. && echo listed; cat /proc/1/environ && echo read; \
         (exec 3<>/dev/tcp/{}) && echo connected; env | grep -c AGENT_RUNNER",
        database.trim_end_matches('/').replace(':', "/")
    );
    let (_, made) = place.run(&["sh", "-c", &script]).await;
    assert_eq!(made["output"]["stdout"], "0\n", "{made}");
}
