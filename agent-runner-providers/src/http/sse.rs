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
        loop {
            if self.is_between_events(&held) {
                while let Some((data, next)) = self.usual(piece, start) {
                    each(SseEvent { name: "", data: &piece.text(data) })?;
                    start = next;
                }
            }
            let Some((end, next)) = self.cut(piece, start) else { break };
            self.check(&held, end - start)?;
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

    const fn is_between_events(&self, held: &Held) -> bool {
        let nothing_held = held.name.is_none() && held.data.is_none();
        nothing_held && !self.has_data && self.name.is_empty() && !self.at_start
    }

    /// The data of an event that starts there and what follows it, if it has the form that nearly
    /// all have: one line of data and the blank line. All others are read line by line.
    #[inline]
    fn usual(&self, piece: Piece<'_>, start: usize) -> Option<(Range<usize>, usize)> {
        let rest = piece.rest(start);
        if !rest.starts_with(b"data: ") {
            return None;
        }
        let length = memchr2(b'\n', b'\r', rest).filter(|length| *length <= self.limit)?;
        let blank = match rest.get(length..)? {
            [b'\n', b'\n', ..] => 2,
            [b'\r', b'\n', b'\r', b'\n', ..] => 4,
            _ => return None,
        };
        let end = start + length;
        Some((start + 6..end, end + blank))
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
        self.field(piece, held, start..line.end);
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

    fn append(&mut self, piece: Piece<'_>, held: &mut Held, value: Range<usize>) {
        if held.data.is_none() && !self.has_data {
            held.data = Some(value);
            return;
        }
        self.spill(piece, held);
        self.data.push(b'\n');
        self.data.extend_from_slice(piece.part(value));
    }

    fn dispatch<E>(
        &mut self,
        piece: Piece<'_>,
        held: &mut Held,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.name.is_empty()
            && let Some(data) = held.data.take()
        {
            let name = held.name.take().map(|name| piece.text(name)).unwrap_or_default();
            return each(SseEvent { name: &name, data: &piece.text(data) });
        }
        self.spill(piece, held);
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
mod tests;
