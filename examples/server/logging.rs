//! Logs and panics, to standard error.

use std::{io, panic};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging at `level` unless the configuration says otherwise, and sends panics there too.
pub(crate) fn start(config: &Config, level: &str, colour: bool) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::new(config.log.as_deref().unwrap_or(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(colour).init(),
        LogFormat::Json => builder.json().init(),
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(
            panic.place = place,
            panic.message = message,
            "a defect: the program panicked"
        );
    }));
}
