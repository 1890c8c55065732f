//! Requests of the system or of a person to stop.

use tokio::sync::mpsc;

/// Counts SIGINT and SIGTERM, so that the second means more than the first.
#[derive(Debug)]
pub(crate) struct Signals {
    received: mpsc::Receiver<()>,
}

impl Signals {
    /// Listens from now on, instead of dying.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        // More than anyone sends before the program has left.
        let (sender, received) = mpsc::channel(8);
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
                let mut stream = signal(kind)?;
                let sender = sender.clone();
                // Lives as long as the program, like the signal handler it reads from.
                tokio::spawn(async move {
                    while stream.recv().await.is_some() && sender.send(()).await.is_ok() {}
                });
            }
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {}
        });
        Ok(Self { received })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if self.received.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the program at the next one, whatever it is doing then. Nothing is lost: a journal
    /// is never ahead of what was acknowledged.
    pub(crate) fn leave_at_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            leave();
        });
    }
}

/// Ends the program with the exit code of an interrupted one.
#[expect(clippy::exit, reason = "a person asked twice; nothing may hold the program up any more")]
fn leave() -> ! {
    std::process::exit(130)
}
