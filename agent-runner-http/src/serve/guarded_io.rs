//! A socket that does not wait for ever: a head has to come in time, and a client has to read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How many requests of a connection are between their head and the end of their answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<AtomicUsize>);

/// Marks a connection as busy until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Phase);

impl Phase {
    pub(super) fn busy(&self) -> Busy {
        self.0.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A timer that runs while something is due.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    const fn new(limit: Duration) -> Self {
        Self { limit, until: None }
    }

    fn start(&mut self) {
        if self.until.is_none() {
            self.until = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.limit)));
        }
    }

    fn stop(&mut self) {
        self.until = None;
    }

    /// Whether it ran out; wakes the task when it does.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready())
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// The socket.
#[derive(Debug)]
pub(super) struct GuardedIo<T> {
    io: T,
    phase: Phase,
    head: Patience,
    write: Patience,
}

impl<T> GuardedIo<T> {
    /// Guards a new connection, whose first head is due from now on.
    pub(super) fn new(io: T, phase: Phase, head: Duration, write: Duration) -> Self {
        let mut head = Patience::new(head);
        head.start();
        Self { io, phase, head, write: Patience::new(write) }
    }

    /// Ends or continues the wait for a client that has to read.
    fn wrote<R>(
        &mut self,
        polled: Poll<io::Result<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.write.stop();
            return polled;
        }
        self.write.start();
        if self.write.is_over(cx) {
            return Poll::Ready(Err(timed_out("the client does not read")));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.phase.is_busy() {
            self.head.stop();
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            if buf.filled().len() > before && !self.phase.is_busy() {
                self.head.start();
            }
            return polled;
        }
        if self.head.is_over(cx) {
            return Poll::Ready(Err(timed_out("the head of the request did not come in time")));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
