//! `agent-runner serve`: the REST service and a worker.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use agent_runner::{
    Engine,
    http::{Api, ApiOptions, serve as serve_http},
};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    assemble,
    config::{Config, ConfigError},
    providers::Providers,
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
    let providers = Providers::of(config)?;
    let store = assemble::store(config).await?;
    let (engine, connections) = assemble::engine(config, &store, &providers).await?;
    match &engine.options().default_model_notice {
        Some(notice) => warn!("{notice}"),
        None => info!(model = %engine.default_model(), "runs that name no model use this one"),
    }
    terminal.text(&welcome(reachable(address)))?;
    let options = ApiOptions {
        connections_per_ip_max: config.connections_per_address,
        ..ApiOptions::default()
    };
    let api =
        Api::builder(engine.clone()).options(options).unconfigured(providers.unconfigured).build();
    work(&engine, api, (listener, signals), config.drain_grace).await?;
    connections.shutdown().await;
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

/// The address by which this machine reaches the service.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn welcome(address: SocketAddr) -> String {
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
    engine: &Engine,
    api: Api,
    (listener, mut signals): (TcpListener, Signals),
    drain_grace: Duration,
) -> anyhow::Result<()> {
    let close = CancellationToken::new();
    let handle = engine.start();
    let mut serving = tokio::spawn(serve_http(listener, api.clone(), close.clone()));
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = signals.next() => None,
    };
    signals.leave_at_next();
    api.set_draining();
    handle.shutdown(drain_grace).await;
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
    use crate::config::Inputs;

    #[test]
    fn what_is_printed_starts_a_run() {
        let text = welcome(reachable("[::]:8000".parse().unwrap()));
        assert!(
            text.starts_with("agent-runner ") && text.contains("http://[::1]:8000\n"),
            "{text}"
        );
        let curls: Vec<&str> = text.lines().filter(|line| line.contains("curl ")).collect();
        let [curl] = curls.as_slice() else { panic!("one line, not {curls:?}") };
        assert!(curl.ends_with("-d '{\"goal\":\"Say hello and tell me the time\"}'"), "{curl}");
    }

    #[test]
    fn an_address_that_others_reach_is_refused_unless_it_is_wanted() {
        let checked = |listen: &str, insecure: &str| {
            let flags = [("listen", listen.to_owned()), ("insecure_bind", insecure.to_owned())];
            let inputs = Inputs { flags: flags.into(), ..Inputs::default() };
            check_address(&Config::load(&inputs).unwrap()).map_err(|error| error.to_string())
        };
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert_eq!(checked(listen, "false"), Ok(()), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let error = checked(listen, "false").unwrap_err();
            assert!(error.contains("--listen = ") && error.contains("--insecure-bind"), "{error}");
            assert_eq!(checked(listen, "true"), Ok(()), "{listen}");
        }
    }
}
