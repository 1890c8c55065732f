//! Server-sent events (WHATWG HTML, section 9.2.6) decoded from bytes as they arrive.
//!
//! Deviates from the standard where model services do: an event that the end of the stream cuts
//! off before its blank line is still delivered, and a field named `error` (llama.cpp) counts as
//! an event of that name. `id` and `retry` are ignored, because a POST is never replayed.

use super::TooLong;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    /// The `event` field; empty when there was none.
    pub(crate) name: String,
    /// The `data` fields, joined by line feeds.
    pub(crate) data: String,
}

/// Turns bytes, cut anywhere, into events.
#[derive(Debug)]
pub(crate) struct SseDecoder {
    line: Vec<u8>,
    name: String,
    // Bytes, because a multi-byte character may be cut anywhere and is whole only at the end.
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
    limit: usize,
}

impl SseDecoder {
    /// A decoder that refuses events longer than `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// Takes the next bytes and appends the events that are complete now.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<SseEvent>) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.grow(rest);
            };
            let (head, tail) = rest.split_at(end);
            self.grow(head)?;
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.end_line(out);
        }
        Ok(())
    }

    /// The end of the stream: delivers an event that lacks its blank line.
    pub(crate) fn finish(&mut self, out: &mut Vec<SseEvent>) {
        if !self.line.is_empty() {
            self.end_line(out);
        }
        self.dispatch(out);
    }

    fn grow(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        self.line.extend_from_slice(piece);
        if self.line.len() + self.data.len() > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(out);
        } else {
            self.field(text);
        }
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.append(value),
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"error" => {
                "error".clone_into(&mut self.name);
                self.append(value);
            }
            _ => {}
        }
    }

    fn append(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    fn dispatch(&mut self, out: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.has_data) {
            out.push(SseEvent { name, data: String::from_utf8_lossy(&self.data).into_owned() });
            self.data.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<SseEvent>, Result<(), TooLong>);

    fn decode(pieces: &[&[u8]], limit: usize) -> Decoded {
        let mut decoder = SseDecoder::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = decoder.push(piece, &mut out) {
                return (out, Err(error));
            }
        }
        decoder.finish(&mut out);
        (out, Ok(()))
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        decode(&[bytes], 1024).0.into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn all_three_line_ends_separate_events() {
        assert_eq!(data(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn several_data_lines_are_one_event_with_one_leading_space_removed() {
        assert_eq!(data(b"data:a\ndata:  b\ndata\n\n"), ["a\n b\n"]);
    }

    #[test]
    fn a_bom_comments_and_unknown_fields_are_ignored() {
        assert_eq!(data(b"\xEF\xBB\xBFdata: a\n: ping\nid: 7\nretry: 1\nx: y\n\n"), ["a"]);
        assert_eq!(data(b": PROCESSING\n\n: PROCESSING\n\n"), [""; 0]);
    }

    #[test]
    fn the_name_of_an_event_may_follow_its_data_and_does_not_stick() {
        let (events, _) = decode(&[b"data: a\nevent: error\n\ndata: b\n\n"], 64);
        assert_eq!(events[0].name, "error");
        assert_eq!(events[1].name, "");
    }

    #[test]
    fn an_error_field_is_an_event_named_error() {
        let (events, _) = decode(&[b"error: {\"code\":500}\n\n"], 64);
        assert_eq!(events, [SseEvent { name: "error".into(), data: "{\"code\":500}".into() }]);
    }

    #[test]
    fn an_event_cut_off_by_the_end_of_the_stream_is_delivered() {
        assert_eq!(data(b"data: a\n\ndata: b"), ["a", "b"]);
    }

    #[test]
    fn an_endless_event_is_refused_at_the_limit() {
        let (events, end) = decode(&[b"data: a\n\ndata: 0123456789\ndata: 0123456789\n\n"], 20);
        assert_eq!(events.len(), 1);
        assert_eq!(end, Err(TooLong { limit: 20 }));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"data: ".to_vec()), Just(b"data:".to_vec()), Just(b"event: e".to_vec()),
                    Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"\n\n".to_vec()), Just(b": c".to_vec()), Just("żółw€🐢".as_bytes().to_vec()),
                    Just(b"\xEF\xBB\xBF".to_vec()), Just(vec![0xFF, 0xC3]), Just(b"{}".to_vec()),
                ],
                0..40,
            ).prop_map(|parts| parts.concat()),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
            limit in 8_usize..200,
        ) {
            let mut places: Vec<usize> =
                cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for place in places {
                pieces.push(&bytes[from..place]);
                from = place;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(decode(&pieces, limit), decode(&[&bytes], limit));
        }
    }
}
