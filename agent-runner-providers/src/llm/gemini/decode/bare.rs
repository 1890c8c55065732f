//! JSON between events: the API reports an error in the middle of a stream as a document of
//! several lines that is no event, for it lacks `data:`.

use crate::http::TooLong;

/// What a piece of the stream belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not to bare JSON.
    Nothing,
    /// To bare JSON that is not complete yet.
    Piece,
    /// To bare JSON that is complete with it.
    Document(Vec<u8>),
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

    /// Takes the next piece of the stream, of one line at most, its end included.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Found, TooLong> {
        let ends_line = matches!(piece.last(), Some(b'\n' | b'\r'));
        let starts_line = std::mem::replace(&mut self.at_line_start, ends_line);
        if self.to_line_end {
            self.to_line_end = !ends_line;
            return Ok(Found::Piece);
        }
        if self.depth == 0 && !(starts_line && matches!(piece.first(), Some(b'{' | b'['))) {
            return Ok(Found::Nothing);
        }
        for &byte in piece {
            self.text.push(byte);
            if self.text.len() > self.limit {
                return Err(TooLong { limit: self.limit });
            }
            if self.closes(byte) {
                self.to_line_end = !ends_line;
                return Ok(Found::Document(std::mem::take(&mut self.text)));
            }
        }
        Ok(Found::Piece)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pieces: &[&str]) -> Vec<String> {
        let mut bare = Bare::new(64);
        let mut found = Vec::new();
        for piece in pieces {
            if let Found::Document(json) = bare.push(piece.as_bytes()).unwrap() {
                found.push(String::from_utf8(json).unwrap());
            }
        }
        found
    }

    #[test]
    fn a_document_over_several_lines_ends_where_its_brackets_are_balanced() {
        let pieces = [
            "data: {\"a\":1}\n",
            "\n",
            "{\n",
            " \"e\": {\"m\": \"}\\\"{\"}\n",
            "}\r",
            "\n",
            "[1]\n",
        ];
        assert_eq!(find(&pieces), ["{\n \"e\": {\"m\": \"}\\\"{\"}\n}", "[1]"]);
    }

    #[test]
    fn a_bracket_inside_a_line_begins_nothing() {
        assert_eq!(find(&["data: ", "{}\n", "x{}\n", "{} ", "{}\n", "{}\n"]), ["{}", "{}"]);
    }

    #[test]
    fn an_endless_document_is_refused() {
        let mut bare = Bare::new(8);
        assert_eq!(bare.push(b"{\"a\": \"b"), Ok(Found::Piece));
        assert_eq!(bare.push(b"c"), Err(TooLong { limit: 8 }));
    }
}
