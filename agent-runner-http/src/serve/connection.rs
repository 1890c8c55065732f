//! One connection.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::debug;

use super::guarded_io::{Busy, GuardedIo, Phase};
use crate::api::Api;

/// Hyper's own bounds on a head. They are wider than the service's, so that a head that is a little
/// too large gets a problem and not a bare status.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEAD_FIELDS_MAX: usize = 256;

/// Serves one connection until it ends or `shutdown` fires.
pub(super) async fn run(socket: TcpStream, router: Router, api: Api, shutdown: CancellationToken) {
    // Frames of a stream are small and meant to be seen at once.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "the connection is gone");
        return;
    }
    let options = api.options();
    let phase = Phase::default();
    let io =
        GuardedIo::new(socket, phase.clone(), options.header_read_timeout, options.write_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = phase.busy();
        let mut router = router.clone();
        async move {
            let response = router.call(request).await?;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _busy: busy }))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The time until the first byte of a head; from there on `GuardedIo` counts.
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// A response body that keeps its connection marked as busy until it is sent.
#[derive(Debug)]
struct Tracked {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
