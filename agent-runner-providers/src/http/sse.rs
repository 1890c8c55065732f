//! Server-sent events (WHATWG HTML, section 9.2.6) decoded from bytes as they arrive.
//!
//! Deviates from the standard where model services do: an event that the end of the stream cuts
//! off before its blank line is still delivered, and a field named `error` (llama.cpp) counts as
//! an event of that name. `id` and `retry` are ignored, because a POST is never replayed.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::{TooLong, piece::Piece};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEvent<'a> {
    /// The `event` field; empty when there was none.
    pub(crate) name: &'a str,
    /// The `data` fields, joined by line feeds.
    pub(crate) data: &'a str,
}

/// Turns bytes, cut anywhere, into events. Copies only what is cut: an event that lies whole in
/// one piece and has one line of data is lent out as it came in.
#[derive(Debug)]
pub(crate) struct SseDecoder {
    /// The beginning of a line whose end is yet to come.
    line: Vec<u8>,
    /// What earlier pieces said of the event under way. Bytes, because a multi-byte character may
    /// be cut anywhere and is whole only at the end.
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
    limit: usize,
}

/// Where the piece at hand tells of the event under way. There is data either here or in the
/// decoder, never in both.
#[derive(Default)]
struct Held {
    name: Option<Range<usize>>,
    data: Option<Range<usize>>,
}

impl SseDecoder {
    /// A decoder that refuses events longer than `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// Takes the next bytes and hands over the events that are complete now. Ends at the first
    /// error, after which the decoder is of no more use.
    pub(crate) fn push<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = bytes.first() else { return Ok(()) };
        let piece = Piece::new(bytes);
        let mut held = Held::default();
        let mut start = usize::from(std::mem::take(&mut self.after_cr) && *first == b'\n');
        if !self.line.is_empty() {
            let Some((end, next)) = self.cut(piece, start) else {
                return Ok(self.keep(piece, &mut held, start)?);
            };
            self.check(&held, end - start)?;
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(piece.part(start..end));
            let whole = Piece::new(&line);
            self.read(whole, 0..line.len(), &mut held, &mut each)?;
            self.spill(whole, &mut held);
            line.clear();
            self.line = line;
            start = next;
        }
        // Most pieces are too small for any event in them to be too long.
        let small = self.name.len() + self.data.len() + bytes.len() <= self.limit;
        while let Some((end, next)) = self.cut(piece, start) {
            if !small {
                self.check(&held, end - start)?;
            }
            self.read(piece, start..end, &mut held, &mut each)?;
            start = next;
        }
        Ok(self.keep(piece, &mut held, start)?)
    }

    /// The end of the stream: hands over an event that lacks its blank line.
    pub(crate) fn finish<E>(
        &mut self,
        mut each: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        let piece = Piece::new(&line);
        let mut held = Held::default();
        if !line.is_empty() {
            self.read(piece, 0..line.len(), &mut held, &mut each)?;
        }
        self.dispatch(piece, &mut held, &mut each)
    }

    /// The end of the line that starts there, and where the next one starts.
    #[inline]
    fn cut(&mut self, piece: Piece<'_>, start: usize) -> Option<(usize, usize)> {
        let rest = piece.rest(start);
        // The blank line after an event is at hand; looking for it costs more than looking at it.
        if rest.first() == Some(&b'\n') {
            return Some((start, start + 1));
        }
        let length = memchr2(b'\n', b'\r', rest)?;
        let end = start + length;
        match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => return Some((end, end + 2)),
            Some(b"\r") => self.after_cr = true,
            _ => {}
        }
        Some((end, end + 1))
    }

    /// Refuses an event that grows beyond the limit with so much more of the line under way.
    fn check(&self, held: &Held, more: usize) -> Result<(), TooLong> {
        let name = held.name.as_ref().map_or(self.name.len(), Range::len);
        let data = held.data.as_ref().map_or(self.data.len(), Range::len);
        if self.line.len() + more + name + data > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        Ok(())
    }

    /// Copies what the end of the piece cuts: the event under way and the line that starts there.
    fn keep(&mut self, piece: Piece<'_>, held: &mut Held, start: usize) -> Result<(), TooLong> {
        let line = piece.rest(start);
        self.check(held, line.len())?;
        self.spill(piece, held);
        self.line.extend_from_slice(line);
        Ok(())
    }

    fn spill(&mut self, piece: Piece<'_>, held: &mut Held) {
        if let Some(name) = held.name.take() {
            self.name.clear();
            self.name.extend_from_slice(piece.part(name));
        }
        if let Some(data) = held.data.take() {
            self.has_data = true;
            self.data.extend_from_slice(piece.part(data));
        }
    }

    #[inline]
    fn read<E>(
        &mut self,
        piece: Piece<'_>,
        line: Range<usize>,
        held: &mut Held,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = line.start;
        if std::mem::take(&mut self.at_start)
            && piece.part(line.clone()).starts_with(b"\xEF\xBB\xBF")
        {
            start += 3;
        }
        if start == line.end {
            return self.dispatch(piece, held, each);
        }
        let text = piece.part(start..line.end);
        if text.starts_with(b"data: ") {
            self.append(piece, held, start + 6..line.end);
        } else {
            self.field(piece, held, start..line.end);
        }
        Ok(())
    }

    fn field(&mut self, piece: Piece<'_>, held: &mut Held, line: Range<usize>) {
        let text = piece.part(line.clone());
        let colon = memchr(b':', text).unwrap_or(text.len());
        let (name, value) = text.split_at(colon);
        let skipped = match value {
            [b':', b' ', ..] => 2,
            value => value.len().min(1),
        };
        let value = line.start + colon + skipped..line.end;
        match name {
            b"data" => self.append(piece, held, value),
            b"event" => held.name = Some(value),
            b"error" => {
                held.name = None;
                self.name.clear();
                self.name.extend_from_slice(b"error");
                self.append(piece, held, value);
            }
            _ => {}
        }
    }

    #[inline]
    fn append(&mut self, piece: Piece<'_>, held: &mut Held, value: Range<usize>) {
        if held.data.is_none() && !self.has_data {
            held.data = Some(value);
            return;
        }
        self.spill(piece, held);
        self.data.push(b'\n');
        self.data.extend_from_slice(piece.part(value));
    }

    #[inline]
    fn dispatch<E>(
        &mut self,
        piece: Piece<'_>,
        held: &mut Held,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = held.name.take();
        if self.name.is_empty()
            && let Some(data) = held.data.take()
        {
            let name = name.map(|name| piece.text(name)).unwrap_or_default();
            return each(SseEvent { name: &name, data: &piece.text(data) });
        }
        self.dispatch_kept(piece, Held { name, data: held.data.take() }, each)
    }

    /// The same for an event of which something had to be copied.
    fn dispatch_kept<E>(
        &mut self,
        piece: Piece<'_>,
        mut held: Held,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.spill(piece, &mut held);
        let taken = if std::mem::take(&mut self.has_data) {
            let (name, data) = (Piece::new(&self.name), Piece::new(&self.data));
            let (name, data) = (name.text(0..self.name.len()), data.text(0..self.data.len()));
            each(SseEvent { name: &name, data: &data })
        } else {
            Ok(())
        };
        self.name.clear();
        self.data.clear();
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and data of an event.
    type Owned = (String, String);
    type Decoded = (Vec<Owned>, Result<(), TooLong>);

    fn decode(pieces: &[&[u8]], limit: usize) -> Decoded {
        let mut decoder = SseDecoder::new(limit);
        let mut out = Vec::new();
        let mut each = |event: SseEvent<'_>| {
            out.push((event.name.to_owned(), event.data.to_owned()));
            Ok(())
        };
        let pushed = pieces.iter().try_for_each(|piece| decoder.push(piece, &mut each));
        let end = pushed.and_then(|()| decoder.finish(&mut each));
        (out, end)
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        decode(&[bytes], 1024).0.into_iter().map(|(_, data)| data).collect()
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
        assert_eq!(events[0].0, "error");
        assert_eq!(events[1].0, "");
    }

    #[test]
    fn an_error_field_is_an_event_named_error() {
        let (events, _) = decode(&[b"error: {\"code\":500}\n\n"], 64);
        assert_eq!(events, [("error".to_owned(), "{\"code\":500}".to_owned())]);
    }

    #[test]
    fn an_event_cut_off_by_the_end_of_the_stream_is_delivered() {
        assert_eq!(data(b"data: a\n\ndata: b"), ["a", "b"]);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(data(b"data: a\xFFb\n\ndata: \xE2\x82\n\n"), ["a\u{FFFD}b", "\u{FFFD}"]);
    }

    #[test]
    fn an_event_that_lies_whole_in_its_piece_is_not_copied() {
        let bytes = b"event: a\ndata: b\n\n: ping\ndata: c\r\n\r\n";
        let within = |text: &str| bytes.as_ptr_range().contains(&text.as_ptr());
        let mut decoder = SseDecoder::new(64);
        let mut seen = 0;
        let each = |event: SseEvent<'_>| {
            assert!(within(event.data) && (event.name.is_empty() || within(event.name)));
            seen += 1;
            Ok::<_, TooLong>(())
        };
        decoder.push(bytes, each).unwrap();
        assert_eq!(seen, 2);
        assert_eq!((decoder.line.capacity(), decoder.data.capacity()), (0, 0));
    }

    #[test]
    fn an_error_of_the_receiver_ends_the_push() {
        let mut seen = 0;
        let mut decoder = SseDecoder::new(64);
        let end = decoder.push(b"data: a\n\ndata: b\n\n", |_| {
            seen += 1;
            Err(TooLong { limit: 7 })
        });
        assert_eq!((end, seen), (Err(TooLong { limit: 7 }), 1));
    }

    #[test]
    fn an_endless_event_is_refused_at_the_limit() {
        let (events, end) = decode(&[b"data: a\n\ndata: 0123456789\ndata: 0123456789\n\n"], 20);
        assert_eq!(events.len(), 1);
        assert_eq!(end, Err(TooLong { limit: 20 }));
    }

    #[test]
    fn a_name_counts_towards_the_limit_once() {
        let line = b"event: 0123456789\n";
        assert_eq!(decode(&[line, line, b"data: x\n\n"], 20).1, Err(TooLong { limit: 20 }));
        assert_eq!(decode(&[line, b"\n", line], 20).1, Ok(()));
        assert_eq!(decode(&[line, line, b"data: x\n\n"], 27).0.len(), 1);
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
