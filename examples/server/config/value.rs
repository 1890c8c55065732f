//! What the text of each setting means.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use agent_runner::{
    agent::ModelName,
    budget::{Budget, OnExceeded},
    llm::MicroUsd,
    providers::SqliteOptions,
    step::EffectPolicy,
    tools::http::HttpAllow,
};
use jiff::SignedDuration;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object per line.
    Json,
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "not an address and port; write it as 127.0.0.1:8000 or [::1]:8000".to_owned())
}

pub(super) fn database_url(text: &str) -> Result<String, String> {
    if text.contains("://") && !text.starts_with("sqlite://") {
        return Err("only sqlite:// and a path, such as sqlite://./data/agent-runner.db".to_owned());
    }
    SqliteOptions::new(text).path().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

pub(super) fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// Reads `usd=5 tokens=2000000 requests=500 seconds=3600 on_exceeded=park`; commas or blanks
/// between.
pub(super) fn budget(text: &str) -> Result<Option<Budget>, String> {
    let mut budget = Budget::default();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').ok_or_else(|| how(word))?;
        let count = || value.parse().ok().filter(|n| *n > 0).ok_or_else(|| how(word));
        match key {
            "requests" => budget.requests = Some(count()?),
            "tokens" => budget.tokens = Some(count()?),
            "seconds" => budget.seconds = Some(count()?),
            "usd" => budget.micro_usd = Some(dollars(value).ok_or_else(|| how(word))?),
            "on_exceeded" => {
                budget.on_exceeded = match value {
                    "fail" => OnExceeded::Fail,
                    "park" => OnExceeded::Park,
                    _ => return Err(how(word)),
                };
            }
            _ => return Err(how(word)),
        }
    }
    if !budget.is_limited() && !text.trim().is_empty() {
        return Err("limits nothing; name usd, tokens, requests or seconds".to_owned());
    }
    Ok(Some(budget).filter(Budget::is_limited))
}

fn how(word: &str) -> String {
    let word: String = word.chars().take(60).collect();
    format!(
        "`{word}` is no limit; write it as usd=5 tokens=2000000 requests=500 seconds=3600 \
         on_exceeded=fail or park"
    )
}

/// US dollars with up to six decimals, more than nothing and at most a billion.
fn dollars(text: &str) -> Option<MicroUsd> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let micro: u64 = format!("{part:0<6}").parse().ok()?;
    let sum = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micro)?;
    (1..=1_000_000_000_000_000).contains(&sum).then_some(MicroUsd(sum))
}

pub(super) fn text(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn secret(text: &str) -> Result<Option<SecretString>, String> {
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| "not 1 to 10000".to_owned())
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=20_000).contains(n))
        .ok_or_else(|| "not 1 to 20000".to_owned())
}

/// Parses a duration such as `15s`, `500ms`, `2m` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.trim().parse().ok();
    parsed
        .and_then(|signed| Duration::try_from(signed).ok())
        .ok_or_else(|| "not a duration; write it as 15s, 500ms, 2m or 1h30m".to_owned())
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed < least || parsed > most {
        return Err(format!("not between {least:?} and {most:?}"));
    }
    Ok(parsed)
}

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn lease(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), HOUR)
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(10), HOUR)
}

pub(super) fn grace(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, HOUR)
}

pub(super) fn http_allow(text: &str) -> Result<HttpAllow, String> {
    HttpAllow::parse(text).map_err(|error| error.to_string())
}

/// How much of what is outside agents reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Open,
    Listed,
    Off,
}

pub(super) fn access(text: &str) -> Result<Access, String> {
    match text {
        "open" => Ok(Access::Open),
        "listed" => Ok(Access::Listed),
        "off" => Ok(Access::Off),
        _ => Err("not open, listed or off".to_owned()),
    }
}

/// Whether agents may run programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShellAccess {
    Confined,
    BestEffort,
    Off,
}

pub(super) fn shell_access(text: &str) -> Result<ShellAccess, String> {
    match text {
        "confined" => Ok(ShellAccess::Confined),
        "best_effort" => Ok(ShellAccess::BestEffort),
        "off" => Ok(ShellAccess::Off),
        _ => Err("not confined, best_effort or off".to_owned()),
    }
}

/// The parts of a list that are not empty.
fn parts(text: &str, between: char) -> impl Iterator<Item = &str> {
    text.split(between).map(str::trim).filter(|part| !part.is_empty())
}

fn absolute<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Vec<PathBuf>, String> {
    parts
        .map(|part| {
            let path = PathBuf::from(part);
            if path.is_absolute() { Ok(path) } else { Err(format!("`{part}` is no absolute path")) }
        })
        .collect()
}

pub(super) fn search_path(text: &str) -> Result<Vec<PathBuf>, String> {
    absolute(parts(text, ':'))
}

pub(super) fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    absolute(parts(text, ','))
}

pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(parts(text, ',').map(str::to_owned).collect())
}

/// A line that is not empty.
pub(super) fn line(text: &str) -> Result<String, String> {
    let line = text.trim();
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err("not a line of text".to_owned());
    }
    Ok(line.to_owned())
}

pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "not a whole number from 1".to_owned())
}

pub(super) fn post_policy(text: &str) -> Result<EffectPolicy, String> {
    match EffectPolicy::parse(text) {
        Some(
            policy @ (EffectPolicy::Ask | EffectPolicy::AtMostOnce | EffectPolicy::Idempotent),
        ) => Ok(policy),
        Some(EffectPolicy::Pure | EffectPolicy::Reconcile) | None => {
            Err("not ask, at_most_once or idempotent".to_owned())
        }
    }
}

pub(super) fn model(text: &str) -> Result<Option<ModelName>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "write it as provider/model, such as ollama/qwen3".to_owned())
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("not true or false".to_owned()),
    }
}

pub(super) fn log_filter(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(error) => Err(format!("{error}; write it as info or warn,agent_runner_core=debug")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("not text or json".to_owned()),
    }
}
