//! Newline-delimited JSON: one document per line, as Ollama streams it.

use super::TooLong;

/// Turns bytes, cut anywhere, into lines. Blank lines are skipped; invalid UTF-8 is replaced.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    line: Vec<u8>,
    limit: usize,
}

impl LineDecoder {
    /// A decoder that refuses lines longer than `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit }
    }

    /// Takes the next bytes and appends the lines that are complete now.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<String>) -> Result<(), TooLong> {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.line.extend_from_slice(piece);
            if self.line.len() > self.limit {
                return Err(TooLong { limit: self.limit });
            }
            if pieces.peek().is_some() {
                self.finish(out);
            }
        }
        Ok(())
    }

    /// The end of the stream: delivers a last line that lacks its line feed.
    pub(crate) fn finish(&mut self, out: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line);
        let text = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{FEFF}');
        if !text.is_empty() {
            out.push(text.to_owned());
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Result<(), TooLong>) {
        let mut decoder = LineDecoder::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = decoder.push(piece, &mut out) {
                return (out, Err(error));
            }
        }
        decoder.finish(&mut out);
        (out, Ok(()))
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_one_with_nothing() {
        assert_eq!(decode(&[b"\xEF\xBB\xBFa\n\nb\r\nc"], 16).0, ["a", "b", "c"]);
    }

    #[test]
    fn an_endless_line_is_refused_at_the_limit() {
        assert_eq!(decode(&[b"a\n123", b"456"], 5), (vec!["a".into()], Err(TooLong { limit: 5 })));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            bytes in "[a\u{fc}\u{20ac}\n\r]{0,60}",
            cut in any::<prop::sample::Index>(),
            limit in 1_usize..80,
        ) {
            let bytes = bytes.as_bytes();
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(decode(&[head, tail], limit), decode(&[bytes], limit));
        }
    }
}
