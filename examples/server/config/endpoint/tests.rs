#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::fs;

use secrecy::ExposeSecret as _;

use super::*;
use crate::config::{Config, Inputs};

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Vec<Endpoint>, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("agent-runner.toml"), file).unwrap();
    fs::write(directory.path().join("key"), "sk-from-a-file\n").unwrap();
    let path = directory.path().display().to_string();
    fs::write(directory.path().join("agent-runner.toml"), file.replace("DIR", &path)).unwrap();
    let pair = |(key, value): &(&str, &str)| (OsString::from(key), OsString::from(value));
    let inputs = Inputs {
        environment: environment.iter().map(pair).collect(),
        directory: directory.path().to_owned(),
        ..Inputs::default()
    };
    let loaded = Config::load(&inputs).map_err(|error| error.to_string())?;
    Ok(loaded.endpoints)
}

fn problem(table: &str) -> String {
    load(&format!("[[providers]]\n{table}"), &[]).unwrap_err()
}

#[test]
fn a_table_is_an_endpoint() {
    let file = r#"
        log = "info"

        [[providers]]
        name = "groq"
        kind = "openai"
        base_url = "https://api.groq.com/openai/v1"
        api_key_env = "GROQ_API_KEY"
        profile = "groq"
        api = "responses"
        prices_as = "groq"
        requests_per_minute = 30
        tokens_per_minute = 6_000
        max_concurrency = 4
        breaker = true
        connect_timeout = "2s"
        first_byte_timeout = "1m"
        idle_timeout = "30s"

        [[providers]]
        name = "box"
        kind = "ollama"
        api_key_file = "DIR/key"
        context_max = 32768

        [[providers]]
        name = "smart"
        kind = "fallback"
        routes = { best = ["groq/a/b", "box/c"] }

        [[providers]]
        name = "later"
        kind = "anthropic"
        api_key_env = "NOT_SET"
    "#;
    let found = load(file, &[("GROQ_API_KEY", "sk-groq")]).unwrap();
    let [groq, local, smart, later] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((groq.name.as_str(), groq.kind, groq.breaker), ("groq", Kind::OpenAi, true));
    assert_eq!(groq.secret().unwrap().expose_secret(), "sk-groq");
    assert_eq!((groq.profile.as_deref(), groq.responses), (Some("groq"), true));
    assert_eq!(groq.prices_as.as_deref(), Some("groq"));
    let limits = Limits {
        requests_per_minute: NonZeroU64::new(30),
        tokens_per_minute: NonZeroU64::new(6_000),
        max_concurrency: NonZeroUsize::new(4),
    };
    assert_eq!(groq.limits, limits);
    assert_eq!(groq.timeouts.first_byte, Some(Duration::from_secs(60)));
    assert!(groq.place().to_string().ends_with("agent-runner.toml, line 4: provider `groq`"));
    assert_eq!(local.secret().unwrap().expose_secret(), "sk-from-a-file");
    assert_eq!(local.context_max, Some(32_768));
    let models: Vec<String> = smart.routes["best"].iter().map(ToString::to_string).collect();
    assert_eq!(models, ["groq/a/b", "box/c"]);
    assert!(matches!(&later.key, Key::Missing(name) if name == "NOT_SET"));
    let debug = format!("{found:?}");
    assert!(!debug.contains("sk-groq") && !debug.contains("sk-from-a-file"), "{debug}");
}

#[test]
fn the_documentation_lists_every_key_and_its_example_can_be_read() {
    let page = include_str!("../../../../docs/CONFIGURATION.md");
    let (_, section) = page.split_once("## Further endpoints").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    for key in Kind::ALL.into_iter().flat_map(read::keys) {
        let key = format!("`{key}`");
        assert!(rows.iter().any(|row| row.contains(&key)), "no row for {key}");
    }
    for kind in Kind::ALL {
        assert!(rows[1].contains(&format!("`{}`", kind.as_str())), "{}", rows[1]);
    }
    let example = section.split("```").nth(1).unwrap().strip_prefix("toml\n").unwrap();
    let names: Vec<String> =
        load(example, &[]).unwrap().into_iter().map(|endpoint| endpoint.name).collect();
    assert_eq!(names, ["groq", "box", "smart"]);
    let (_, models) = page.split_once("## What models cost and can do").unwrap();
    let example = models.split("```").nth(1).unwrap().strip_prefix("toml\n").unwrap();
    let file = agent_runner::providers::ModelsFile::parse(example, "models.toml").unwrap();
    assert_eq!(file.len(), 2);
}

#[test]
fn a_key_in_the_file_is_refused_and_never_quoted() {
    for key in ["api_key", "key", "token", "API_KEY", "authorization"] {
        let error = problem(&format!("name = \"a\"\nkind = \"openai\"\n{key} = \"sk-secret\""));
        assert!(error.contains("line 4") && error.contains("api_key_env"), "{error}");
        assert!(!error.contains("sk-secret"), "{error}");
    }
    let error = problem("name = \"a\"\nkind = \"openai\"\napi_key_env = \"sk-secret\"");
    assert!(error.contains("not the key itself") && !error.contains("sk-secret"), "{error}");
    let error = load("openai_api_key = \"sk-secret\"", &[]).unwrap_err();
    assert!(error.contains("set OPENAI_API_KEY") && !error.contains("sk-secret"), "{error}");
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_line() {
    let table = |rest: &str| format!("name = \"a\"\nkind = \"openai\"\n{rest}");
    for (text, wanted) in [
        ("kind = \"openai\"".to_owned(), "line 1: a provider needs a `name`"),
        ("name = \"a\"".to_owned(), "line 1: a provider needs a `kind`"),
        ("name = \"a/b\"\nkind = \"openai\"".to_owned(), "line 2: `name`: not 1 to 64"),
        ("name = \"a\"\nkind = \"gpt\"".to_owned(), "line 3: `kind`: not one of openai, anthropic"),
        (
            table("base_ulr = \"x\""),
            "line 4: a provider has no `base_ulr`; did you mean `base_url`?",
        ),
        (table("context_max = 1"), "`context_max` is not for kind = \"openai\", but for ollama"),
        (table("max_concurrency = 0"), "`max_concurrency`: not a whole number above 0"),
        (table("requests_per_minute = 99999999999999"), "or too large"),
        (table("breaker = \"on\""), "`breaker`: not true or false"),
        (table("api = \"v2\""), "`api`: not chat or responses"),
        (table("idle_timeout = 3"), "`idle_timeout`: not a string"),
        (table("idle_timeout = \"0s\""), "`idle_timeout`: not between"),
        (table("base_url = \"\""), "`base_url`: empty"),
        (table("api_key_env = \"A\"\napi_key_file = \"b\""), "not both"),
        (table("api_key_file = \"DIR/nothing\""), "provider `a`: api_key_file"),
        ("name = \"a\"\nkind = \"fallback\"".to_owned(), "a fallback needs routes"),
        ("name = \"a\"\nkind = \"fallback\"\nroutes = { b = [] }".to_owned(), "`routes`: not {"),
        (
            "name = \"a\"\nkind = \"fallback\"\nroutes = { b = [\"gpt\"] }".to_owned(),
            "`routes`: not {",
        ),
    ] {
        let error = problem(&text);
        assert!(error.contains(wanted), "{wanted}\nin {error}");
    }
    for file in ["providers = 1", "providers = [1]", "[providers]\nname = \"a\""] {
        let error = load(file, &[]).unwrap_err();
        assert!(error.contains("is a list of tables: [[providers]]"), "{error}");
    }
    let twice = "[[providers]]\nname = \"a\"\nkind = \"openai\"\n".repeat(2);
    let error = load(&twice, &[]).unwrap_err();
    assert!(error.contains("line 4: provider `a` stands in line 1 already"), "{error}");
}
