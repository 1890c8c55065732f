#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::fs;

use super::*;

fn inputs(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: &str,
) -> (tempfile::TempDir, Inputs) {
    let directory = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        fs::write(directory.path().join(FILE), file).unwrap();
    }
    let inputs = Inputs {
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        environment: environment
            .iter()
            .map(|(k, v)| (OsString::from(k), OsString::from(v)))
            .collect(),
        file: None,
        directory: directory.path().to_owned(),
    };
    (directory, inputs)
}

fn load(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: &str,
) -> Result<Config, String> {
    let (_directory, inputs) = inputs(flags, environment, file);
    Config::load(&inputs).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load(&[], &[], "").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.database_url, "sqlite://./data/agent-runner.db");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.lease_ttl, Duration::from_secs(15));
    assert_eq!(config.heartbeat_interval, Duration::from_secs(15));
    assert_eq!(config.drain_grace, Duration::from_secs(25));
    assert_eq!(config.http_post_policy, EffectPolicy::Ask);
    assert!(config.http_allow.is_empty() && !config.insecure_bind);
    assert!(config.default_model.is_none() && config.openai_api_key.is_none());
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "concurrency = 2\npoll_interval = \"2s\"\nlease_ttl = \"2s\"\n";
    let environment = [("AGENT_RUNNER_CONCURRENCY", "3"), ("AGENT_RUNNER_POLL_INTERVAL", "3s")];
    let config = load(&[("concurrency", "4")], &environment, file).unwrap();
    assert_eq!(config.concurrency, 4);
    assert_eq!(config.poll_interval, Duration::from_secs(3));
    assert_eq!(config.lease_ttl, Duration::from_secs(2));
    assert_eq!(config.heartbeat_interval, Duration::from_secs(15));
    assert_eq!(config.given.shown("concurrency"), Some(("4", &Source::Flag)));
    assert_eq!(config.given.shown("poll_interval"), Some(("3s", &Source::Environment)));
    assert!(config.given.place("lease_ttl").ends_with("agent-runner.toml, line 3)"));
}

#[test]
fn an_empty_value_is_as_good_as_none() {
    let config = load(&[], &[("OPENAI_API_KEY", ""), ("AGENT_RUNNER_LISTEN", "")], "").unwrap();
    assert!(config.openai_api_key.is_none());
    assert_eq!(config.listen.port(), 8000);
}

#[test]
fn the_database_follows_the_data_directory_unless_it_is_set() {
    let config = load(&[], &[("AGENT_RUNNER_DATA_DIR", "/var/lib/x/")], "").unwrap();
    assert_eq!(config.database_url, "sqlite:///var/lib/x/agent-runner.db");
    let both = [("AGENT_RUNNER_DATA_DIR", "/x"), ("AGENT_RUNNER_DATABASE_URL", "sqlite://y.db")];
    assert_eq!(load(&[], &both, "").unwrap().database_url, "sqlite://y.db");
}

#[test]
fn a_typo_in_the_environment_is_answered_with_the_nearest_variable() {
    let error = load(&[], &[("AGENT_RUNNER_LEASE_TLL", "15s")], "").unwrap_err();
    assert!(error.contains("AGENT_RUNNER_LEASE_TLL (environment)"), "{error}");
    assert!(error.contains("did you mean AGENT_RUNNER_LEASE_TTL?"), "{error}");
    let error = load(&[], &[("AGENT_RUNNER_OPENAI_API_KEY", "sk-1")], "").unwrap_err();
    assert!(error.contains("did you mean OPENAI_API_KEY?") && !error.contains("sk-1"), "{error}");
}

#[test]
fn a_typo_in_the_file_is_answered_with_its_line_and_the_nearest_key() {
    let error = load(&[], &[], "# settings\n\nheartbeat_intervall = \"1s\"\n").unwrap_err();
    assert!(
        error.contains("agent-runner.toml, line 3: there is no setting `heartbeat_intervall`"),
        "{error}"
    );
    assert!(error.contains("did you mean `heartbeat_interval`?"), "{error}");
}

#[test]
fn variables_of_others_and_of_kubernetes_are_none_of_our_business() {
    let environment = [
        ("PATH", "/bin"),
        ("AGENT_RUNNER_PORT", "tcp://10.0.0.1:8000"),
        ("AGENT_RUNNER_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("AGENT_RUNNER_SERVICE_HOST", "10.0.0.1"),
        ("AGENT_RUNNER_SERVICE_PORT_HTTP", "8000"),
    ];
    assert!(load(&[], &environment, "").is_ok());
    let error = load(&[], &[("AGENT_RUNNER_PORT", "8000")], "").unwrap_err();
    assert!(error.contains("AGENT_RUNNER_PORT (environment)"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let environment = [("AGENT_RUNNER_CONCURRENCY", "0"), ("AGENT_RUNNER_LISTEN", "8000")];
    let error = load(&[("lease_ttl", "15")], &environment, "log_format = \"xml\"").unwrap_err();
    assert!(error.starts_with("configuration: 4 things are wrong"), "{error}");
    for place in [
        "AGENT_RUNNER_CONCURRENCY (environment) = \"0\": not 1 to 10000",
        "AGENT_RUNNER_LISTEN (environment) = \"8000\"",
        "--lease-ttl = \"15\": not a duration; write it as 15s",
        "log_format (",
    ] {
        assert!(error.contains(place), "{place} in {error}");
    }
}

#[test]
fn a_file_that_is_no_toml_names_the_line_and_quotes_nothing() {
    let error =
        load(&[], &[], "listen = \"127.0.0.1:1\"\nopenai_api_key = sk-secret\n").unwrap_err();
    assert!(error.contains("agent-runner.toml, line 2"), "{error}");
    assert!(!error.contains("sk-secret"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_in_the_file_is_refused() {
    for file in ["listen = 1.5", "[listen]\na = 1", "http_allow = [1]"] {
        let error = load(&[], &[], file).unwrap_err();
        assert!(error.contains("must be a string, a number, true or false"), "{error}");
    }
    let config = load(&[], &[], "http_allow = [\"a:1\", \"b:2\"]\ninsecure_bind = true").unwrap();
    assert_eq!(config.http_allow.to_string(), "a:1, b:2");
    assert!(config.insecure_bind);
}

#[test]
fn a_file_that_is_asked_for_must_exist() {
    let (_directory, mut inputs) = inputs(&[], &[], "");
    inputs.file = Some(inputs.directory.join("nowhere.toml"));
    let error = Config::load(&inputs).unwrap_err().to_string();
    assert!(error.contains("nowhere.toml: cannot be read"), "{error}");
}

#[test]
fn durations_have_units_and_bounds() {
    for (text, want) in [("15s", 15_000), ("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000)] {
        assert_eq!(duration(text), Ok(Duration::from_millis(want)), "{text}");
    }
    for text in ["", "15", "s", "-1s", "1 fortnight", "1e3s", "99999999999999999999s"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert!(load(&[("lease_ttl", "1ms")], &[], "").unwrap_err().contains("not between"));
    assert!(load(&[("poll_interval", "0s")], &[], "").unwrap_err().contains("not between"));
}

#[test]
fn a_secret_is_in_no_error_no_debug_and_no_list() {
    let environment = [
        ("OPENAI_API_KEY", "sk-secret"),
        ("OLLAMA_HOST", "http://user:sk-secret@host"),
        ("AGENT_RUNNER_CONCURRENCY", "x"),
    ];
    let error = load(&[], &environment, "").unwrap_err();
    assert!(!error.contains("sk-secret"), "{error}");
    let config = load(&[], &environment[..2], "").unwrap();
    assert!(!format!("{:?}", config.given).contains("sk-secret"));
    assert!(!format!("{:?}", config.openai_api_key).contains("sk-secret"));
    assert_eq!(config.given.shown("openai_api_key").unwrap().0, "[set]");
    assert!(!config.given.shown("ollama_host").unwrap().0.contains("sk-secret"));
    let error = load(&[("database_url", "postgres://u:sk-secret@h/db")], &[], "").unwrap_err();
    assert!(!error.contains("sk-secret") && error.contains("sqlite://"), "{error}");
}

#[test]
fn a_flag_variable_and_key_have_one_name() {
    let foreign = ["anthropic_", "gemini_", "ollama_", "openai_"];
    for setting in SETTINGS {
        let upper = setting.key.to_uppercase();
        let theirs = foreign.iter().any(|prefix| setting.key.starts_with(prefix));
        let want = if theirs { upper } else { format!("{PREFIX}{upper}") };
        assert_eq!(setting.env, want);
    }
}

#[test]
fn the_documentation_lists_every_setting_with_its_variable_and_default() {
    let page = include_str!("../../../docs/CONFIGURATION.md");
    for setting in SETTINGS {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", setting.key)));
        let row =
            row.unwrap_or_else(|| panic!("docs/CONFIGURATION.md has no row for {}", setting.key));
        assert!(row.contains(&format!("`{}`", setting.env)), "{row}");
        assert!(
            setting.default.is_empty() || row.contains(&format!("`{}`", setting.default)),
            "{row}"
        );
    }
    let table = page.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, SETTINGS.len(), "docs/CONFIGURATION.md has a row for no setting");
}

#[test]
fn a_daily_budget_is_read_and_nonsense_is_told() {
    let budget = |text: &str| load(&[("daily_budget", text)], &[], "").map(|it| it.daily_budget);
    let read = budget("usd=2.5, tokens=1000 on_exceeded=park").unwrap().unwrap();
    assert_eq!(read.micro_usd, Some(agent_runner::llm::MicroUsd(2_500_000)));
    assert_eq!((read.tokens, read.requests), (Some(1_000), None));
    assert_eq!(read.on_exceeded, agent_runner::budget::OnExceeded::Park);
    assert_eq!(budget("").unwrap(), None);
    for wrong in [
        "5",
        "usd",
        "usd=-1",
        "usd=0",
        "usd=1.1234567",
        "tokens=1.5",
        "eur=5",
        "usd=1e3",
        "on_exceeded=park",
        "on_exceeded=wait usd=1",
        "usd=99999999999999999999",
    ] {
        let error = budget(wrong).unwrap_err();
        assert!(error.contains("--daily-budget"), "{wrong}: {error}");
    }
}
