//! `agent-runner serve`: the REST service and a worker.

use std::process::ExitCode;

use agent_runner::{
    Engine,
    http::{Api, serve as serve_http},
};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    assemble,
    config::{Config, ConfigError},
    signal::Signals,
    terminal::Terminal,
};

/// A goal for the first run that somebody starts.
const GOAL: &str = "Say hello and tell me the time";

/// Serves until a signal comes.
pub(crate) async fn serve(config: &Config, terminal: Terminal) -> anyhow::Result<ExitCode> {
    check_address(config)?;
    let signals = Signals::listen()?;
    // Before the database is touched: a second server that cannot listen must not work on runs.
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another with --listen", config.listen)
    })?;
    let address = listener.local_addr()?;
    let store = assemble::store(config).await?;
    let engine = assemble::engine(config, &store).await?;
    match &engine.options().default_model_notice {
        Some(notice) => warn!("{notice}"),
        None => info!(model = %engine.default_model(), "runs that name no model use this one"),
    }
    terminal.text(&welcome(&address.to_string()))?;
    work(config, &engine, listener, signals).await?;
    store.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to let strangers start runs, unless the operator says that this is wanted.
pub(crate) fn check_address(config: &Config) -> Result<(), ConfigError> {
    if config.listen.ip().is_loopback() || config.insecure_bind {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "{} = {}: other machines can reach this address, and nobody has to log in. Listen on \
         127.0.0.1 behind a reverse proxy that asks who is there, or say that it is wanted with \
         --insecure-bind or AGENT_RUNNER_INSECURE_BIND=true",
        config.given.place("listen"),
        config.listen
    )))
}

fn welcome(address: &str) -> String {
    format!(
        "agent-runner {} listens on http://{address}\n\n  \
         Start a run and watch it:\n  \
         curl -N http://{address}/runs/stream -H 'content-type: application/json' -d '{{\"goal\":\"{GOAL}\"}}'\n\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Works and answers until a signal comes; then readiness goes first, steps end or are handed
/// over, and connections close.
async fn work(
    config: &Config,
    engine: &Engine,
    listener: TcpListener,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let api = Api::builder(engine.clone()).build();
    let close = CancellationToken::new();
    let handle = engine.start();
    let mut serving = tokio::spawn(serve_http(listener, api.clone(), close.clone()));
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = signals.next() => None,
    };
    signals.leave_at_next();
    api.set_draining();
    handle.shutdown(config.drain_grace).await;
    close.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => serving.await,
    };
    ended.context("the service broke")?.context("the service failed")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_starts_a_run() {
        let text = welcome("127.0.0.1:8000");
        assert!(text.starts_with("agent-runner "), "{text}");
        let curls: Vec<&str> = text.lines().filter(|line| line.contains("curl ")).collect();
        let [curl] = curls.as_slice() else { panic!("one line, not {curls:?}") };
        assert!(curl.ends_with("-d '{\"goal\":\"Say hello and tell me the time\"}'"), "{curl}");
    }
}
