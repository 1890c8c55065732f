//! The router on a socket, with bounds on what a client can hold on to.
//!
//! `axum::serve` cannot bound slow heads, slow readers or connections, so this is a loop of its own
//! over hyper's HTTP/1.

mod connection;
mod guarded_io;
mod places;

use std::{io, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::places::{Places, Refused};
use crate::api::Api;

/// How long to wait after `accept` failed: with no file descriptor left, an immediate retry would
/// only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client gets that finds no place. Written without waiting, before anything was read.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/problem+json\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    Content-Length: 194\r\n\r\n\
    {\"type\":\"/docs#problem-overloaded\",\"title\":\"Too much is going on\",\"status\":503,\
    \"detail\":\"there are too many connections; try again\",\"instance\":\"\",\"code\":\"overloaded\",\
    \"request_id\":\"\",\"errors\":[]}";

/// Serves `api` until `shutdown` fires, then ends: no new connections, streams end with
/// `stream.closing`, requests in execution get [`crate::ApiOptions::shutdown_grace`].
///
/// # Errors
/// The listener has no address, which means that it is not one.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = api.router();
    let places = Places::new(api.options());
    let mut connections = JoinSet::new();
    info!(%address, "serving");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => match places.take(peer.ip()) {
                    Ok(place) => {
                        let serving =
                            connection::run(socket, router.clone(), api.clone(), shutdown.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(refused) => refuse(&socket, refused),
                },
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // New clients are refused from here on, not left in the backlog.
    drop(listener);
    api.close_streams();
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(api.options().shutdown_grace, ended).await.is_err() {
        warn!(connections = connections.len(), "connections are still busy and are cut");
        connections.shutdown().await;
    }
    info!(%address, "served");
    Ok(())
}

fn refuse(socket: &tokio::net::TcpStream, refused: Refused) {
    warn!(?refused, "a connection was refused");
    // The socket's buffer is empty: what fits is written at once, what does not is not worth a wait.
    let _ = socket.try_write(REFUSAL);
}

#[cfg(test)]
mod tests {
    use super::REFUSAL;

    #[test]
    fn the_refusal_is_a_complete_answer() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(503), Some("overloaded"))
        );
    }
}
