//! Takes the key out of what a service sends.

use std::fmt;

use bytes::Bytes;
use memchr::{memchr_iter, memmem::Finder};
use secrecy::{ExposeSecret as _, SecretString};

/// Shortest key that is looked for, in bytes. Local servers are given words such as `ollama` or
/// `none`, which replies are free to contain; a real key is longer.
const KEY_BYTES_MIN: usize = 16;
/// What stands in its place.
const REDACTED: &[u8] = b"[redacted]";

/// A body as it comes in, without the key: a service that echoes it must not bring it into an
/// event, a list of models or a log. Finds it where it is split over pieces as well.
pub(super) struct Scrubber {
    key: Option<Finder<'static>>,
    /// The end of the last piece, when it may be the beginning of the key.
    held: Vec<u8>,
}

// The finder would show the key.
impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").finish_non_exhaustive()
    }
}

impl Scrubber {
    pub(super) fn of(key: Option<&SecretString>) -> Self {
        let key = key.map(|key| key.expose_secret().as_bytes());
        let key = key.filter(|key| key.len() >= KEY_BYTES_MIN);
        Self { key: key.map(|key| Finder::new(key).into_owned()), held: Vec::new() }
    }

    /// The next piece; empty when all of it may belong to the key.
    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        let Some(finder) = &self.key else { return piece };
        let key = finder.needle();
        // Nearly every piece: nothing is copied.
        if self.held.is_empty() && finder.find(&piece).is_none() && beginning(key, &piece) == 0 {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        let mut clean = Vec::with_capacity(self.held.len());
        let mut rest = self.held.as_slice();
        while let Some(at) = finder.find(rest) {
            let (before, after) = rest.split_at(at);
            clean.extend_from_slice(before);
            clean.extend_from_slice(REDACTED);
            rest = after.get(key.len()..).unwrap_or_default();
        }
        let (sure, held) = rest.split_at(rest.len() - beginning(key, rest));
        clean.extend_from_slice(sure);
        self.held = held.to_vec();
        clean.into()
    }

    /// What was held back, at the end of the body.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| held.into())
    }
}

/// How many bytes at the end of `text` are the beginning of `key`.
fn beginning(key: &[u8], text: &[u8]) -> usize {
    let tail = text.len().saturating_sub(key.len().saturating_sub(1));
    let tail = text.get(tail..).unwrap_or_default();
    let Some(first) = key.first() else { return 0 };
    memchr_iter(*first, tail)
        .filter_map(|at| tail.get(at..))
        .find(|end| key.starts_with(end))
        .map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-sk-0123456789-sk";

    fn scrubbed<'a>(key: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let key = SecretString::from(key);
        let mut scrubber = Scrubber::of(Some(&key));
        let mut clean = Vec::new();
        for piece in pieces {
            clean.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(piece)));
        }
        clean.extend_from_slice(&scrubber.finish().unwrap_or_default());
        String::from_utf8(clean).unwrap()
    }

    #[test]
    fn a_key_is_taken_out_wherever_it_is_split() {
        let text = format!("a {KEY}{KEY} b {KEY}c sk-sk-01 sk-");
        for at in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(at);
            let clean = scrubbed(KEY, [a, b]);
            assert_eq!(clean, "a [redacted][redacted] b [redacted]c sk-sk-01 sk-", "{at}");
        }
        let bytes = scrubbed(KEY, text.as_bytes().chunks(1));
        assert_eq!(bytes, "a [redacted][redacted] b [redacted]c sk-sk-01 sk-");
    }

    #[test]
    fn a_word_that_is_no_key_stays_and_a_piece_without_the_key_is_not_copied() {
        assert_eq!(scrubbed("ollama", [&b"I like ollama"[..]]), "I like ollama");
        let key = SecretString::from(KEY);
        let mut scrubber = Scrubber::of(Some(&key));
        let piece = Bytes::from_static(b"data: {}\n\n");
        assert_eq!(scrubber.push(piece.clone()).as_ptr(), piece.as_ptr());
        assert!(!format!("{scrubber:?}").contains("sk-"));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[s\\-k0-9]{0,80}", cuts in proptest::collection::vec(0_usize..90, 0..6)) {
            let text = format!("{text}{KEY}{text}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(scrubbed(KEY, pieces), text.replace(KEY, "[redacted]"));
        }
    }
}
