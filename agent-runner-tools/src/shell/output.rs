//! Where a program's output goes: to who watches, to the model, and to the log.

use std::{sync::Arc, time::Duration};

use agent_runner_core::tool::{ToolCx, ToolHost};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{hide::Hider, text::Cleaner};

/// How long the log may hold the program up.
const STALL: Duration = Duration::from_secs(10);

/// The beginning and the end of a text.
#[derive(Debug)]
pub(super) struct Ends {
    head: String,
    tail: String,
    each_max: usize,
    total: usize,
}

impl Ends {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { head: String::new(), tail: String::new(), each_max: bytes_max / 2, total: 0 }
    }

    fn push(&mut self, text: &str) {
        self.total = self.total.saturating_add(text.len());
        let mut rest = text;
        // Nothing is added to a head that is full: a short character must not overtake a long one.
        if self.tail.is_empty() {
            let room = self.each_max.saturating_sub(self.head.len());
            let (fits, more) = rest.split_at(rest.floor_char_boundary(room));
            self.head.push_str(fits);
            rest = more;
        }
        self.tail.push_str(rest);
        if self.tail.len() > self.each_max.saturating_mul(2) {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let surplus = self.tail.len().saturating_sub(self.each_max);
        self.tail.drain(..self.tail.ceil_char_boundary(surplus));
    }

    /// Whether something is left out.
    pub(super) const fn is_cut(&self) -> bool {
        self.total > self.head.len().saturating_add(self.each_max)
    }

    /// The text, with a line in place of what is left out.
    pub(super) fn into_text(mut self) -> String {
        if !self.is_cut() {
            return self.head + &self.tail;
        }
        self.shorten();
        let left_out = self.total.saturating_sub(self.head.len() + self.tail.len());
        format!("{}\n[… {left_out} bytes left out …]\n{}", self.head, self.tail)
    }
}

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Out,
    Err,
}

/// The log: nothing while everything fits what the model is shown, all of it once it does not.
#[derive(Debug)]
struct Log {
    pieces: mpsc::Sender<Bytes>,
    /// What was said until now, while it is not certain that there will be a log.
    pending: Option<String>,
    room: usize,
}

/// Takes a program's output.
#[derive(Debug)]
pub(super) struct Output {
    host: Arc<dyn ToolHost>,
    cancel: CancellationToken,
    cleaners: [(Cleaner, Hider); 2],
    pub(super) stdout: Ends,
    pub(super) stderr: Ends,
    log: Option<Log>,
}

impl Output {
    pub(super) fn new(
        cx: &ToolCx,
        shown_max: usize,
        log: (mpsc::Sender<Bytes>, usize),
        hidden: &str,
    ) -> Self {
        let (pieces, room) = log;
        Self {
            host: Arc::clone(&cx.host),
            cancel: cx.cancel.clone(),
            cleaners: [(); 2].map(|()| (Cleaner::default(), Hider::new(hidden.to_owned()))),
            stdout: Ends::new(shown_max),
            stderr: Ends::new(shown_max),
            log: Some(Log { pieces, pending: Some(String::new()), room }),
        }
    }

    /// Takes some bytes; none mean that there will be no more.
    pub(super) async fn take(&mut self, from: From, bytes: &[u8]) {
        let [out, err] = &mut self.cleaners;
        let (cleaner, hider) = match from {
            From::Out => out,
            From::Err => err,
        };
        let text = if bytes.is_empty() {
            hider.push(&cleaner.finish()) + &hider.finish()
        } else {
            hider.push(&cleaner.push(bytes))
        };
        if text.is_empty() {
            return;
        }
        self.host.show(&text);
        match from {
            From::Out => self.stdout.push(&text),
            From::Err => self.stderr.push(&text),
        }
        self.write_down(text).await;
    }

    async fn write_down(&mut self, text: String) {
        let Some(log) = &mut self.log else { return };
        let mut next = match &mut log.pending {
            Some(pending) => {
                pending.push_str(&text);
                if !self.stdout.is_cut() && !self.stderr.is_cut() {
                    return;
                }
                log.pending.take().unwrap_or_default()
            }
            None => text,
        };
        let full = next.len() > log.room;
        if full {
            next.truncate(next.floor_char_boundary(log.room));
            next.push_str("\n[the log ends here, the output went on]\n");
        }
        log.room = log.room.saturating_sub(next.len());
        let sending = tokio::time::timeout(STALL, log.pieces.send(next.into()));
        let sent = self.cancel.run_until_cancelled(sending).await;
        // Where nothing keeps it, or not fast enough, there is no log.
        if full || !matches!(sent, Some(Ok(Ok(())))) {
            self.log = None;
        }
    }

    /// Both outputs as the model sees them, and whether something is left out.
    pub(super) fn into_texts(self) -> (String, String, bool) {
        let cut = self.stdout.is_cut() || self.stderr.is_cut();
        (self.stdout.into_text(), self.stderr.into_text(), cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_beginning_and_its_end_and_no_more() {
        let mut ends = Ends::new(20);
        for n in 0..1_000 {
            ends.push(&format!("{n} ä\n"));
            assert!(ends.head.len() + ends.tail.len() <= 40);
        }
        assert!(ends.is_cut());
        let text = ends.into_text();
        assert!(text.starts_with("0 ä\n1 ä\n"), "{text}");
        assert!(text.ends_with("999 ä\n"), "{text}");
        assert!(text.contains("bytes left out"), "{text}");
        assert!(text.len() < 70, "{text}");
    }

    #[test]
    fn a_text_that_fits_is_whole() {
        let mut ends = Ends::new(20);
        for _ in 0..20 {
            ends.push("x");
        }
        assert!(!ends.is_cut());
        assert_eq!(ends.into_text(), "x".repeat(20));
    }
}
