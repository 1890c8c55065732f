//! Inputs made from good ones by small damage, the same in every run.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What decoders stumble over.
const TOKENS: [&[u8]; 24] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\xE2\x82",
    "🐢".as_bytes(),
    b"\0",
    b"data:",
    b"data: ",
    b"event: error\n",
    b"error: ",
    b"id: 1\n",
    b": ping\n",
    b"[DONE]",
    b"\"error\":",
    b"\\ud83d",
    b"\\",
    b"\"",
    b"{",
    b"[[[[[[[[",
    b"null",
    b"-1e999",
];

/// Random numbers (splitmix64) that depend on nothing but the seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn choose<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Two places in that order.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        // Mostly short ones, so that most of the input stays good.
        a.min(b)..a.max(b).min(a.min(b) + 24)
    }

    fn damaged(&mut self, good: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.choose(good).to_vec();
        for _ in 0..self.below(6) {
            let range = self.range(bytes.len());
            let new = match self.below(5) {
                0 => Vec::new(),
                1 => bytes[range.clone()].repeat(2),
                2 => {
                    let other = self.choose(good);
                    other[self.range(other.len())].to_vec()
                }
                3 => self.next().to_le_bytes()[..2].to_vec(),
                _ => self.choose(&TOKENS).to_vec(),
            };
            let start = range.start;
            let replaced = if self.below(2) == 0 { range } else { start..start };
            drop(bytes.splice(replaced, new));
        }
        bytes
    }

    fn cut<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        let longest = 1 + self.below(64);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(self.below(longest + 1).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces
    }
}

/// Gives `check` so many damaged inputs, whole and in pieces. A panic names the seed that leads
/// to it again.
pub(crate) fn fuzz(
    good: &[&[u8]],
    seeds: std::ops::Range<u64>,
    mut check: impl FnMut(&[u8], &[&[u8]], &mut Random),
) {
    for seed in seeds {
        let mut random = Random(seed);
        let bytes = random.damaged(good);
        let pieces = random.cut(&bytes);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&bytes, &pieces, &mut random)));
        assert!(checked.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}
