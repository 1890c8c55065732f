//! A piece of a stream, whose parts are wanted as text.

use std::{borrow::Cow, ops::Range};

/// Bytes that came in together. Whether they are text is checked once for all of them, which
/// costs a fraction of checking each part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    bytes: &'a [u8],
    /// Empty when some of the bytes are not UTF-8, be it a character that the end cuts in two.
    text: &'a str,
}

impl<'a> Piece<'a> {
    /// These bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: simdutf8::basic::from_utf8(bytes).unwrap_or_default() }
    }

    /// A part, in which U+FFFD stands for what is not UTF-8.
    #[inline]
    pub(super) fn text(&self, part: Range<usize>) -> Cow<'a, str> {
        match self.text.get(part.clone()) {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.part(part)),
        }
    }

    /// The bytes of a part.
    #[inline]
    pub(super) fn part(&self, part: Range<usize>) -> &'a [u8] {
        self.bytes.get(part).unwrap_or_default()
    }

    /// The bytes from a place on.
    #[inline]
    pub(super) fn rest(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..).unwrap_or_default()
    }
}
