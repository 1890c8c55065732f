//! Bodies out of their packing, with a bound on what comes out.

use std::io::{self, Write as _};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, write::MultiGzDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// How much larger than its packed form a body may be, beyond the first 64 KiB.
const RATIO_MAX: usize = 100;

/// A body on its way out of its packing.
pub(super) struct Unpack {
    decoder: Decoder,
    packed: usize,
    max: usize,
}

enum Decoder {
    Plain(Vec<u8>),
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// `deflate`, until its first two bytes tell which of its two forms it is.
    Deflate(Vec<u8>),
    Inflate(Inflate),
}

/// A stream of `deflate`; what comes after its end is dropped.
struct Inflate {
    state: Decompress,
    out: Vec<u8>,
    ended: bool,
}

fn broken(said: &str) -> ToolError {
    ToolError::new(ToolErrorKind::Network, said).may_have_run()
}

impl Unpack {
    pub(super) fn new(headers: &HeaderMap, max: usize) -> Result<Self, ToolError> {
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let encoding = encodings.next().map(|v| v.to_str().unwrap_or("?").trim());
        let decoder = match encoding.map(str::to_ascii_lowercase).as_deref() {
            _ if encodings.next().is_some() => return Err(broken("the answer is packed twice")),
            None | Some("" | "identity") => Decoder::Plain(Vec::new()),
            Some("gzip" | "x-gzip") => Decoder::Gzip(MultiGzDecoder::new(Vec::new())),
            Some("deflate") => Decoder::Deflate(Vec::new()),
            Some(_) => {
                return Err(broken("the answer is packed in a way that was not asked for"));
            }
        };
        Ok(Self { decoder, packed: 0, max })
    }

    fn len(&self) -> usize {
        match &self.decoder {
            Decoder::Plain(body) => body.len(),
            Decoder::Gzip(decoder) => decoder.get_ref().len(),
            Decoder::Deflate(_) => 0,
            Decoder::Inflate(inflate) => inflate.out.len(),
        }
    }

    /// Whether there is more than what is wanted.
    pub(super) fn full(&self) -> bool {
        self.len() > self.max
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), ToolError> {
        // A little at a time, so that a bomb is noticed before it has gone off.
        for piece in piece.chunks(1_024) {
            if self.full() {
                return Ok(());
            }
            self.packed = self.packed.saturating_add(piece.len());
            self.decoder
                .write(piece)
                .map_err(|error| broken("the answer cannot be unpacked").with_source(error))?;
            let packed = !matches!(self.decoder, Decoder::Plain(_));
            let most = self.packed.saturating_mul(RATIO_MAX).saturating_add(64 * 1024);
            if packed && self.len() > most {
                let said = "the answer unpacks to more than a hundred times its size";
                return Err(ToolError::new(ToolErrorKind::TooLarge, said).may_have_run());
            }
        }
        Ok(())
    }

    /// The body up to the bound, and whether there is more of it. A packing that ends early is an
    /// error: what is missing could be anything.
    pub(super) fn finish(self) -> Result<(Bytes, bool), ToolError> {
        let (full, max) = (self.full(), self.max);
        // Nothing at all is an empty body, however it says that it is packed.
        let mut body = if self.packed == 0 { Vec::new() } else { self.decoder.finish(full)? };
        let truncated = body.len() > max;
        body.truncate(max);
        Ok((body.into(), truncated))
    }
}

impl Decoder {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(body) => body.extend_from_slice(piece),
            Self::Gzip(decoder) => decoder.write_all(piece)?,
            Self::Inflate(inflate) => inflate.write(piece)?,
            Self::Deflate(begun) => {
                begun.extend_from_slice(piece);
                let begun = std::mem::take(begun);
                let [method, check, ..] = *begun.as_slice() else {
                    *self = Self::Deflate(begun);
                    return Ok(());
                };
                let mut inflate = Inflate::new(is_zlib(method, check));
                inflate.write(&begun)?;
                *self = Self::Inflate(inflate);
            }
        }
        Ok(())
    }

    fn finish(self, cut: bool) -> Result<Vec<u8>, ToolError> {
        Ok(match self {
            Self::Plain(body) => body,
            Self::Inflate(inflate) if inflate.ended || cut => inflate.out,
            Self::Inflate(_) | Self::Deflate(_) => {
                return Err(broken("the packed answer ends early"));
            }
            Self::Gzip(mut decoder) => {
                if !cut {
                    decoder.try_finish().map_err(|error| {
                        broken("the packed answer ends early").with_source(error)
                    })?;
                }
                std::mem::take(decoder.get_mut())
            }
        })
    }
}

impl Inflate {
    fn new(zlib: bool) -> Self {
        Self { state: Decompress::new(zlib), out: Vec::new(), ended: false }
    }

    fn write(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !self.ended {
            self.out.reserve(8 * 1024);
            let before = self.state.total_in();
            let status = self.state.decompress_vec(piece, &mut self.out, FlushDecompress::None)?;
            let taken = usize::try_from(self.state.total_in() - before).unwrap_or(piece.len());
            piece = piece.get(taken..).unwrap_or_default();
            self.ended = status == Status::StreamEnd;
            // With room left and nothing to read, it waits for more.
            if piece.is_empty() && self.out.len() < self.out.capacity() {
                break;
            }
        }
        Ok(())
    }
}

/// Whether two bytes are the head of zlib's format (RFC 1950, section 2.2).
fn is_zlib(method: u8, check: u8) -> bool {
    method & 0x0f == 8 && u16::from_be_bytes([method, check]).is_multiple_of(31)
}
