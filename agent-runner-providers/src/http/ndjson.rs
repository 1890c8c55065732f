//! Newline-delimited JSON: one document per line, as Ollama streams it.

use std::ops::Range;

use memchr::memchr;

use super::{TooLong, piece::Piece};

/// Turns bytes, cut anywhere, into lines. Blank lines are skipped; invalid UTF-8 is replaced.
/// Copies only what is cut: a line that lies whole in one piece is lent out as it came in.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    /// The beginning of a line whose end is yet to come.
    line: Vec<u8>,
    limit: usize,
}

impl LineDecoder {
    /// A decoder that refuses lines longer than `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit }
    }

    /// Takes the next bytes and hands over the lines that are complete now. Ends at the first
    /// error, after which the decoder is of no more use.
    pub(crate) fn push<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let piece = Piece::new(bytes);
        let mut start = 0;
        while let Some(length) = memchr(b'\n', piece.rest(start)) {
            let end = start + length;
            self.check(length)?;
            if self.line.is_empty() {
                deliver(piece, start..end, &mut each)?;
            } else {
                self.line.extend_from_slice(piece.part(start..end));
                self.finish(&mut each)?;
            }
            start = end + 1;
        }
        let rest = piece.rest(start);
        self.check(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The end of the stream: hands over a last line that lacks its line feed.
    pub(crate) fn finish<E>(
        &mut self,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let delivered = deliver(Piece::new(&self.line), 0..self.line.len(), &mut each);
        self.line.clear();
        delivered
    }

    /// Refuses a line that grows beyond the limit with so much more of it.
    const fn check(&self, more: usize) -> Result<(), TooLong> {
        if self.line.len() + more > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        Ok(())
    }
}

#[inline]
fn deliver<E>(
    piece: Piece<'_>,
    line: Range<usize>,
    each: &mut impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let line = piece.text(line);
    let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{FEFF}');
    if line.is_empty() { Ok(()) } else { each(line) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::fuzz;

    fn decode(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Result<(), TooLong>) {
        let mut decoder = LineDecoder::new(limit);
        let mut out = Vec::new();
        let mut each = |line: &str| {
            out.push(line.to_owned());
            Ok(())
        };
        let pushed = pieces.iter().try_for_each(|piece| decoder.push(piece, &mut each));
        let end = pushed.and_then(|()| decoder.finish(&mut each));
        (out, end)
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_one_with_nothing() {
        assert_eq!(decode(&[b"\xEF\xBB\xBFa\n\nb\r\nc"], 16).0, ["a", "b", "c"]);
    }

    #[test]
    fn an_endless_line_is_refused_at_the_limit() {
        assert_eq!(decode(&[b"a\n123", b"456"], 5), (vec!["a".into()], Err(TooLong { limit: 5 })));
    }

    #[test]
    fn a_line_that_lies_whole_in_its_piece_is_not_copied() {
        let bytes = b"{}\r\n {}\n";
        let mut seen = 0;
        let mut decoder = LineDecoder::new(16);
        let each = |line: &str| {
            assert!(bytes.as_ptr_range().contains(&line.as_ptr()));
            seen += 1;
            Ok::<_, TooLong>(())
        };
        decoder.push(bytes, each).unwrap();
        assert_eq!((seen, decoder.line.capacity()), (2, 0));
    }

    #[test]
    fn damaged_streams_fit_the_limit_and_may_be_cut_anywhere() {
        let good: [&[u8]; 2] = [
            b"\xEF\xBB\xBF{\"a\":1}\n\n {\"b\":[]}\r\n{\"done\":true}",
            "{\"a\":\"żółw 🐢\"}\r\n\t\r\n{}\n".as_bytes(),
        ];
        fuzz(&good, 0..60_000, |bytes, pieces, random| {
            let limit = 1 + random.below(60);
            assert_eq!(decode(pieces, limit), decode(&[bytes], limit));
            let mut decoder = LineDecoder::new(limit);
            for piece in pieces {
                let pushed = decoder.push(piece, |_| Ok::<_, TooLong>(()));
                assert!(decoder.line.len() <= limit);
                if pushed.is_err() {
                    break;
                }
            }
        });
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
