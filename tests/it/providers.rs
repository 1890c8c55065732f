//! The server's providers as its configuration makes them: tables, chains, limits, prices.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    server::{Site, all, client, create, get, join},
    upstream::{Upstream, Wire},
};

const MODELS: &str = r#"
    [[models]]
    model = "local/*"
    context_window = 4_096
    prices = [{ input = 0, output = 0 }]

    [[models]]
    model = "openai/good"
    vision = true
    prices = [{ input = 0.075, output = 1 }]
"#;

fn site(directory: &std::path::Path, upstream: &Upstream) -> Site {
    let mut site = Site::new(directory);
    let url = |wire, way| upstream.honest_url(wire, way);
    let tables = [
        format!("name = \"local\"\nkind = \"ollama\"\nbase_url = \"{}\"\nbreaker = true", url(Wire::Ollama, "works")),
        format!("name = \"down\"\nkind = \"openai\"\nbase_url = \"{}\"\nrequests_per_minute = 600", url(Wire::OpenAi, "refuses")),
        format!("name = \"priced\"\nkind = \"openai\"\nbase_url = \"{}\"\nprices_as = \"anthropic\"", url(Wire::OpenAi, "works")),
        "name = \"later\"\nkind = \"gemini\"\napi_key_env = \"NOT_THERE\"".to_owned(),
        "name = \"chain\"\nkind = \"fallback\"\nroutes = { best = [\"later/m\", \"down/good\", \"local/good\"] }".to_owned(),
    ];
    let tables: String = tables.iter().map(|table| format!("[[providers]]\n{table}\n")).collect();
    fs::write(directory.join("agent-runner.toml"), tables).unwrap();
    fs::write(directory.join("models.toml"), MODELS).unwrap();
    site.set("AGENT_RUNNER_MODELS_FILE", "models.toml");
    site.set("OPENAI_BASE_URL", &url(Wire::OpenAi, "works"));
    // A closed port: no test finds an Ollama server of this machine.
    site.set("OLLAMA_HOST", "127.0.0.1:1");
    site
}

fn named<'a>(list: &'a [Value], name: &str) -> &'a Value {
    list.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name} in {list:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_provider_is_listed_with_its_health_its_models_and_who_knows_what_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let site = site(directory.path(), &upstream);
    let server = site.start().await;
    let client = client();
    let list = all(&client, &site, "/providers").await;
    let names: Vec<&str> = list.iter().map(|it| it["name"].as_str().unwrap()).collect();
    let want = [
        "anthropic",
        "chain",
        "down",
        "gemini",
        "later",
        "local",
        "ollama",
        "openai",
        "priced",
        "scripted",
    ];
    assert_eq!(names, want);
    for (name, variable) in
        [("anthropic", "ANTHROPIC_API_KEY"), ("gemini", "GEMINI_API_KEY"), ("later", "NOT_THERE")]
    {
        let it = named(&list, name);
        assert_eq!((&it["configured"], &it["healthy"]), (&json!(false), &json!(false)), "{it}");
        assert!(it["error"]["message"].as_str().unwrap().contains(variable), "{it}");
    }
    let down = &named(&list, "down")["error"];
    assert_eq!(down["code"], "auth", "{down}");
    assert!(down["message"].as_str().unwrap().ends_with("(request req_42)"), "{down}");
    assert_eq!(named(&list, "ollama")["error"]["code"], "network");
    assert_eq!(named(&list, "openai")["default"], true);
    let models = all(&client, &site, "/models").await;
    let local = named(&models, "local/good");
    assert_eq!(
        (&local["context"], &local["sources"]["context_window"]),
        (&json!(4_096), &json!("operator"))
    );
    assert_eq!(
        (&local["price"]["input"], &local["price"]["source"]),
        (&json!(0.0), &json!("operator"))
    );
    let openai = named(&models, "openai/good");
    assert_eq!(
        (&openai["price"]["input"], &openai["price"]["basis"]),
        (&json!(0.075), &json!("models.toml"))
    );
    assert_eq!(
        (&openai["vision"], &openai["sources"]["vision"]),
        (&json!(true), &json!("operator"))
    );
    assert_eq!(named(&models, "priced/good")["price"], Value::Null, "no list knows that model");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_to_the_next_model_and_says_who_answered() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let site = site(directory.path(), &upstream);
    let server = site.start().await;
    let client = client();
    let url = site.url("/providers/chain/generate");
    let body = json!({"prompt": "p", "model": "best"});
    let reply: Value = client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&reply["model"], &reply["answered_by"]),
        (&json!("chain/best"), &json!("local/good")),
        "{reply}"
    );
    assert_eq!(reply["cost"]["micro_usd"], 0, "the price is that of who answered: {reply}");
    assert!(!reply["notices"].as_array().unwrap().is_empty(), "{reply}");
    let run = json!({"goal": "g", "model": "chain/best", "tools": []});
    let id = create(&client, &site, &run).await.unwrap();
    assert_eq!(join(&client, &site, &id).await["status"], "COMPLETED");
    assert!(get(&client, &site, &format!("/runs/{id}/usage")).await["total"]["input"].is_u64());
    server.kill().await;
}

#[tokio::test]
async fn the_doctor_says_of_every_provider_who_knows_what() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let site = site(directory.path(), &upstream);
    let output = site.command(&["config", "--json"]).output().await.unwrap();
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["providers.later"]["value"], "gemini, NOT_THERE is not set");
    assert_eq!(settings["providers.local"]["value"], "ollama, without a key");
    assert_eq!(settings["providers.local"]["source"], "./agent-runner.toml:1");
    let output = site.command(&["doctor", "--json"]).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let detail = |what: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["what"] == what);
        check.unwrap_or_else(|| panic!("no {what} in {report:#}"))["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let openai = detail("models of openai");
    assert!(openai.starts_with("2: good, no key; prices: operator 1, unknown 1"), "{openai}");
    let local = detail("models of local");
    assert!(
        local.contains("prices: operator 2; context: operator 2; tools: provider 2"),
        "{local}"
    );
    assert!(detail("models of down").contains("HTTP 401"));
    assert_eq!(detail("models of gemini"), "not set up: set GEMINI_API_KEY");
    assert_eq!(detail("models of later"), "not set up: set NOT_THERE to its key");
    assert_eq!(detail("default model"), "openai/good");
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    for (file, variable, wanted) in [
        (
            "[[providers]]\nname = \"openai\"\nkind = \"openai\"",
            ("OPENAI_API_KEY", "k"),
            "both say what `openai` is",
        ),
        (
            "[[providers]]\nname = \"a\"\nkind = \"openai\"\nprofile = \"gpt\"",
            ("X", ""),
            "no such profile; there are",
        ),
        (
            "[[providers]]\nname = \"a\"\nkind = \"openai\"\nprices_as = \"gpt\"",
            ("X", ""),
            "no such list; there are none, ",
        ),
        (
            "[[providers]]\nname = \"a\"\nkind = \"fallback\"\nroutes = { b = [\"nobody/m\"] }",
            ("X", ""),
            "there is no provider `nobody`",
        ),
        (
            "[[providers]]\nname = \"a\"\nkind = \"fallback\"\nroutes = { b = [\"a/b\"] }",
            ("X", ""),
            "no fallback",
        ),
        ("models_file = \"bad.toml\"", ("X", ""), "bad.toml: line 3: there is no key `vison`"),
        (
            "models_file = \"nowhere.toml\"",
            ("X", ""),
            "models_file (./agent-runner.toml, line 1): nowhere.toml: No such file",
        ),
    ] {
        let mut site = Site::new(directory.path());
        fs::write(directory.path().join("agent-runner.toml"), file).unwrap();
        fs::write(directory.path().join("bad.toml"), "[[models]]\nmodel = \"a/m\"\nvison = true")
            .unwrap();
        site.set(variable.0, variable.1);
        let output = site.command(&["serve"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{file}: {said}");
        assert!(said.contains(wanted), "{wanted}\nin {said}");
    }
}
