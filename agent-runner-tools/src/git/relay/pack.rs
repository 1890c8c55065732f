//! What a remote sends, looked at before libgit2 unpacks it.
//!
//! A few hundred bytes of a pack can stand for a file that fills the memory: sizes are claims of
//! whoever made it, and a delta multiplies. So every object's size is read, and every object
//! unpacked once, as the bytes pass; what is too large never reaches libgit2.

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use flate2::{Decompress, FlushDecompress, Status};

use super::super::{error::too_large, options::GitLimits};

/// How many times more than `fetch_bytes_max` a pack may unpack to: text packs tenfold at most.
const RATIO_MAX: u64 = 16;
/// Bytes that hold both sizes with which a delta begins.
const DELTA_HEAD: usize = 20;

fn malformed() -> ToolError {
    ToolError::new(ToolErrorKind::Network, "what the remote sends is no pack of git's")
}

/// The answer to one request for a pack.
#[derive(Debug)]
pub(super) struct PackCheck {
    lines: Lines,
    pack: Pack,
}

impl PackCheck {
    pub(super) fn new(limits: &GitLimits) -> Self {
        Self { lines: Lines::default(), pack: Pack::new(limits) }
    }

    /// Looks at what comes next.
    ///
    /// # Errors
    /// `TooLarge`; `Network` for what is no pack.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), ToolError> {
        while !bytes.is_empty() {
            let (part, rest) = self.lines.next(bytes)?;
            if let Some(part) = part {
                self.pack.take(part)?;
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// Where in the lines of the protocol the bytes are ("pkt-line", gitprotocol-common).
#[derive(Debug, Default)]
enum Lines {
    /// Before a line: digits of its length.
    #[default]
    Between,
    Length(Vec<u8>),
    /// In a line, so many bytes of it to come; the first says what it is.
    First(usize),
    Pack(usize),
    Words(usize),
    /// A pack without lines around it.
    Bare,
}

impl Lines {
    /// The next bytes that belong to a pack, if any, and what is left after the step.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Option<&'a [u8]>, &'a [u8]), ToolError> {
        let split = |left: usize| bytes.split_at(left.min(bytes.len()));
        match self {
            Self::Bare => Ok((Some(bytes), &[])),
            Self::Between => {
                *self = Self::Length(Vec::with_capacity(4));
                Ok((None, bytes))
            }
            Self::Length(digits) => {
                let (some, rest) = split(4 - digits.len());
                digits.extend_from_slice(some);
                if digits.len() < 4 {
                    return Ok((None, rest));
                }
                if digits == b"PACK" {
                    *self = Self::Bare;
                    return Ok((Some(b"PACK"), rest));
                }
                let length = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|n| usize::from_str_radix(n, 16).ok());
                *self = match length {
                    Some(0 | 4) => Self::Between,
                    Some(length) if length > 4 => Self::First(length - 4),
                    _ => return Err(malformed()),
                };
                Ok((None, rest))
            }
            Self::First(left) => {
                let left = *left;
                match bytes.first() {
                    Some(1) => {
                        *self = Self::after(left - 1, Self::Pack);
                        Ok((None, split(1).1))
                    }
                    _ => {
                        *self = Self::Words(left);
                        Ok((None, bytes))
                    }
                }
            }
            Self::Pack(left) => {
                let (some, rest) = split(*left);
                *self = Self::after(*left - some.len(), Self::Pack);
                Ok((Some(some), rest))
            }
            Self::Words(left) => {
                let (some, rest) = split(*left);
                *self = Self::after(*left - some.len(), Self::Words);
                Ok((None, rest))
            }
        }
    }

    fn after(left: usize, more: fn(usize) -> Self) -> Self {
        if left == 0 { Self::Between } else { more(left) }
    }
}

/// Where in a pack the bytes are (gitformat-pack).
#[derive(Debug)]
enum At {
    Head(Vec<u8>),
    /// Before an object, or in its type and size.
    Object {
        kind: u8,
        size: u64,
        shift: u32,
    },
    /// In what an object is a delta of: so many bytes, or as many as say that one follows.
    Base {
        delta: u64,
        left: Option<usize>,
    },
    Content(Content),
    Trailer,
}

#[derive(Debug)]
struct Content {
    size: u64,
    unpacked: u64,
    /// The first bytes of a delta.
    delta: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Pack {
    at: At,
    objects: u32,
    unpack: Decompress,
    scratch: Vec<u8>,
    /// Unpacked until now.
    bytes: u64,
    objects_max: u32,
    object_bytes_max: u64,
    bytes_max: u64,
}

impl Pack {
    fn new(limits: &GitLimits) -> Self {
        Self {
            at: At::Head(Vec::with_capacity(12)),
            objects: 0,
            unpack: Decompress::new(true),
            scratch: vec![0; 64 * 1024],
            bytes: 0,
            objects_max: limits.objects_max,
            object_bytes_max: limits.blob_bytes_max,
            bytes_max: limits.fetch_bytes_max.saturating_mul(RATIO_MAX),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), ToolError> {
        while let Some((&byte, after)) = bytes.split_first() {
            match &mut self.at {
                At::Trailer => return Ok(()),
                At::Head(head) => {
                    head.push(byte);
                    bytes = after;
                    if head.len() == 12 {
                        let head = std::mem::take(head);
                        self.begin(&head)?;
                    }
                }
                At::Object { kind, size, shift } => {
                    let low =
                        if *shift == 0 { u64::from(byte & 0x0f) } else { u64::from(byte & 0x7f) };
                    if *shift == 0 {
                        *kind = (byte >> 4) & 7;
                    }
                    *size |=
                        low.checked_shl(*shift).filter(|_| *shift < 57).ok_or_else(malformed)?;
                    *shift += if *shift == 0 { 4 } else { 7 };
                    bytes = after;
                    if byte & 0x80 == 0 {
                        let (kind, size) = (*kind, *size);
                        self.object(kind, size)?;
                    }
                }
                At::Base { delta, left } => {
                    bytes = after;
                    let ends = match left {
                        Some(left) => {
                            *left -= 1;
                            *left == 0
                        }
                        None => byte & 0x80 == 0,
                    };
                    if ends {
                        let content =
                            Content { size: *delta, unpacked: 0, delta: Some(Vec::new()) };
                        self.at = At::Content(content);
                    }
                }
                At::Content(_) => bytes = self.content(bytes)?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), ToolError> {
        let number =
            |from: usize| head.get(from..from + 4)?.try_into().ok().map(u32::from_be_bytes);
        if head.get(..4) != Some(b"PACK") || !matches!(number(4), Some(2 | 3)) {
            return Err(malformed());
        }
        self.objects = number(8).unwrap_or(0);
        if self.objects > self.objects_max {
            let max = self.objects_max;
            return Err(too_large(format!("the remote sends more than {max} objects")));
        }
        self.next();
        Ok(())
    }

    fn next(&mut self) {
        self.at =
            if self.objects == 0 { At::Trailer } else { At::Object { kind: 0, size: 0, shift: 0 } };
        self.objects = self.objects.saturating_sub(1);
        self.unpack.reset(true);
    }

    fn fits(&self, size: u64) -> Result<(), ToolError> {
        let max = self.object_bytes_max;
        if size > max {
            return Err(too_large(format!(
                "the remote sends a file of {size} bytes; {max} are taken"
            )));
        }
        Ok(())
    }

    fn object(&mut self, kind: u8, size: u64) -> Result<(), ToolError> {
        self.fits(size)?;
        self.at = match kind {
            1..=4 => At::Content(Content { size, unpacked: 0, delta: None }),
            6 => At::Base { delta: size, left: None },
            7 => At::Base { delta: size, left: Some(20) },
            _ => return Err(malformed()),
        };
        Ok(())
    }

    fn content<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ToolError> {
        let At::Content(content) = &mut self.at else { return Ok(bytes) };
        let (read, wrote) = (self.unpack.total_in(), self.unpack.total_out());
        let status = self.unpack.decompress(bytes, &mut self.scratch, FlushDecompress::None);
        let status = status.map_err(|_| malformed())?;
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (read, wrote) = (self.unpack.total_in() - read, self.unpack.total_out() - wrote);
        content.unpacked += wrote;
        self.bytes = self.bytes.saturating_add(wrote);
        if content.unpacked > content.size {
            return Err(malformed());
        }
        if self.bytes > self.bytes_max {
            return Err(too_large("what the remote sends unpacks to far more than it is"));
        }
        let mut result = None;
        if let Some(head) = &mut content.delta {
            let more = self.scratch.iter().take(count(wrote)).take(DELTA_HEAD - head.len());
            head.extend(more);
            if head.len() == DELTA_HEAD || status == Status::StreamEnd {
                result = Some(delta_result(head).ok_or_else(malformed)?);
            }
        }
        if let Some(size) = result {
            self.fits(size)?;
        }
        if status == Status::StreamEnd {
            self.next();
        } else if read == 0 && wrote == 0 {
            return Err(malformed());
        }
        Ok(bytes.get(count(read)..).unwrap_or_default())
    }
}

/// The size of what a delta makes: the second of the two numbers with which it begins.
fn delta_result(head: &[u8]) -> Option<u64> {
    let mut bytes = head.iter();
    let mut number = || {
        let (mut n, mut shift) = (0_u64, 0_u32);
        loop {
            let byte = bytes.next()?;
            n |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 57)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
    };
    number()?;
    number()
}

#[cfg(test)]
mod tests;
