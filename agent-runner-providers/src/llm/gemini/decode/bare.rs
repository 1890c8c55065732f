//! JSON between events: the API reports an error in the middle of a stream as a document of
//! several lines that is no event, for it lacks `data:`.

use crate::http::TooLong;

/// What the beginning of a piece of the stream is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not bare JSON: so many bytes.
    Other(usize),
    /// So many bytes of bare JSON that is not complete yet, or of the line on which it ended.
    Piece(usize),
    /// So many bytes, with which bare JSON is complete.
    Document(usize, Vec<u8>),
}

/// Finds bare JSON. It begins with a brace or bracket at the beginning of a line, where no event
/// does, and ends where the brackets are balanced.
#[derive(Debug)]
pub(super) struct Bare {
    limit: usize,
    text: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    at_line_start: bool,
    /// The rest of the line on which a document ended belongs to nothing.
    to_line_end: bool,
}

impl Bare {
    /// Refuses documents longer than `limit` bytes.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            text: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            at_line_start: true,
            to_line_end: false,
        }
    }

    /// Says what the next bytes of the stream begin with. The bytes after that come next.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Found, TooLong> {
        if self.to_line_end {
            let end = bytes.iter().position(|byte| is_line_end(*byte));
            self.to_line_end = end.is_none();
            self.at_line_start = end.is_some();
            return Ok(Found::Piece(end.map_or(bytes.len(), |at| at + 1)));
        }
        if self.depth == 0 {
            let begins = |byte: u8| matches!(byte, b'{' | b'[');
            if !(self.at_line_start && bytes.first().is_some_and(|first| begins(*first))) {
                let next = bytes.windows(2).position(
                    |pair| matches!(pair, [end, first] if is_line_end(*end) && begins(*first)),
                );
                let count = next.map_or(bytes.len(), |at| at + 1);
                let last = bytes.get(..count).and_then(<[u8]>::last);
                self.at_line_start = last.is_none_or(|last| is_line_end(*last));
                return Ok(Found::Other(count));
            }
        }
        self.document(bytes)
    }

    fn document(&mut self, bytes: &[u8]) -> Result<Found, TooLong> {
        for (byte, count) in bytes.iter().zip(1..) {
            self.text.push(*byte);
            if self.text.len() > self.limit {
                return Err(TooLong { limit: self.limit });
            }
            if self.closes(*byte) {
                self.to_line_end = true;
                return Ok(Found::Document(count, std::mem::take(&mut self.text)));
            }
        }
        Ok(Found::Piece(bytes.len()))
    }

    /// Whether the byte closes the outermost bracket.
    const fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest of the stream, and the documents in it.
    fn find(pieces: &[&str]) -> (String, Vec<String>) {
        let mut bare = Bare::new(64);
        let (mut other, mut found) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut bytes = piece.as_bytes();
            while !bytes.is_empty() {
                let count = match bare.next(bytes).unwrap() {
                    Found::Other(count) => {
                        other.extend_from_slice(&bytes[..count]);
                        count
                    }
                    Found::Piece(count) => count,
                    Found::Document(count, json) => {
                        found.push(String::from_utf8(json).unwrap());
                        count
                    }
                };
                assert!(count > 0, "nothing of {bytes:?} was taken");
                bytes = &bytes[count..];
            }
        }
        (String::from_utf8(other).unwrap(), found)
    }

    #[test]
    fn a_document_over_several_lines_ends_where_its_brackets_are_balanced() {
        let stream = "data: {\"a\":1}\n\n{\n \"e\": {\"m\": \"}\\\"{\"}\n} x\r\n[1]\ndata: 2\n";
        let (other, found) = find(&[stream]);
        assert_eq!(other, "data: {\"a\":1}\n\n\ndata: 2\n");
        assert_eq!(found, ["{\n \"e\": {\"m\": \"}\\\"{\"}\n}", "[1]"]);
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(find(&[head, tail]), (other.clone(), found.clone()), "{head:?} {tail:?}");
        }
    }

    #[test]
    fn a_bracket_inside_a_line_begins_nothing() {
        let (other, found) = find(&["data: ", "{}\nx{}\n", "{} ", "{}\n{", "}\n"]);
        assert_eq!((other.as_str(), found.len()), ("data: {}\nx{}\n", 2));
    }

    #[test]
    fn an_endless_document_is_refused() {
        let mut bare = Bare::new(8);
        assert_eq!(bare.next(b"{\"a\": \"b"), Ok(Found::Piece(8)));
        assert_eq!(bare.next(b"c"), Err(TooLong { limit: 8 }));
    }
}
