//! Lines of a stream that somebody else writes.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// A line without its end.
#[derive(Debug)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// The beginning of one that is too long; the rest is skipped.
    TooLong(Vec<u8>),
}

/// Reads lines and never holds more than `bytes_max` of one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    skipping: bool,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), skipping: false, bytes_max }
    }

    /// The next line; `None` at the end of the stream and when it breaks.
    ///
    /// # Cancellation
    /// What was read of a line stays until the next call.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            // Nothing is awaited between reading the buffer and consuming it.
            let buffer = self.reader.fill_buf().await.ok().filter(|buffer| !buffer.is_empty())?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (piece, used) = match end {
                Some(end) => (buffer.get(..end).unwrap_or_default(), end + 1),
                None => (buffer, buffer.len()),
            };
            let mut done = None;
            if self.skipping {
                self.skipping = end.is_none();
            } else if self.line.len() + piece.len() > self.bytes_max {
                self.skipping = end.is_none();
                done = Some(Line::TooLong(std::mem::take(&mut self.line)));
            } else {
                self.line.extend_from_slice(piece);
                if end.is_some() {
                    done = Some(Line::Whole(std::mem::take(&mut self.line)));
                }
            }
            self.reader.consume(used);
            if done.is_some() {
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_named_once_and_skipped() {
        let text = format!("one\n{}\n\ntwo\nrest", "x".repeat(20_000));
        let mut lines = Lines::new(text.as_bytes(), 10_000);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await {
            seen.push(match line {
                Line::Whole(line) => String::from_utf8(line).unwrap(),
                Line::TooLong(head) => format!("too long: {}", head.len() <= 10_000),
            });
        }
        assert_eq!(seen, ["one", "too long: true", "", "two"]);
    }
}
