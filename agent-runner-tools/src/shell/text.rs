//! A program's output as text that harms no terminal and no page.

/// Longest control sequence that is looked for its end, in characters.
const SEQUENCE_MAX: usize = 4_096;
/// Most bytes of a character that may be missing at the end of a piece.
const CARRIED_MAX: usize = 3;

/// Turns bytes into text, piece by piece: what is no UTF-8 becomes U+FFFD, control sequences and
/// characters that are not seen go, and every line ends with a line feed. A character or sequence
/// may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    carried: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After a carriage return.
    Return,
    /// After ESC.
    Escape,
    /// In a control sequence, which ends with a letter or the like.
    Sequence(usize),
    /// In a string for the terminal, which ends with BEL or ESC `\`.
    String(usize),
}

impl Cleaner {
    /// The text of the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.carried);
        all.extend_from_slice(bytes);
        let whole = all.len() - incomplete(&all);
        let rest = all.split_off(whole);
        self.carried = rest;
        self.clean(&String::from_utf8_lossy(&all))
    }

    /// The text of what was carried at the end of all bytes.
    pub(super) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.carried);
        let mut text = self.clean(&String::from_utf8_lossy(&rest));
        if self.state == State::Return {
            text.push('\n');
        }
        self.state = State::Text;
        text
    }

    fn clean(&mut self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            self.state = self.next(c, &mut clean);
        }
        clean
    }

    fn next(&self, c: char, clean: &mut String) -> State {
        match (self.state, c) {
            (State::Escape, '[') => State::Sequence(0),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String(0),
            // Two characters long, or three with one of these in between.
            (State::Escape, ' '..='/') => State::Escape,
            (State::Sequence(length), ' '..='?') if length < SEQUENCE_MAX => {
                State::Sequence(length + 1)
            }
            (State::Escape, '0'..='~')
            | (State::Sequence(_), '@'..='~')
            | (State::String(_), '\u{7}' | '\u{9c}') => State::Text,
            (State::String(length), c)
                if length < SEQUENCE_MAX && !matches!(c, '\u{1b}' | '\n' | '\r') =>
            {
                State::String(length + 1)
            }
            (before, c) => plain(before, c, clean),
        }
    }
}

/// A character that no sequence takes.
fn plain(before: State, c: char, clean: &mut String) -> State {
    if before == State::Return {
        clean.push('\n');
        if c == '\n' {
            return State::Text;
        }
    }
    match c {
        '\r' => State::Return,
        '\u{1b}' => State::Escape,
        '\u{9b}' => State::Sequence(0),
        '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => State::String(0),
        '\n' | '\t' => {
            clean.push(c);
            State::Text
        }
        c if c.is_control() || is_unseen(c) => State::Text,
        c => {
            clean.push(c);
            State::Text
        }
    }
}

/// Characters that change the direction of others, or take no room.
const fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Bytes at the end that may be the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    for back in 1..=CARRIED_MAX.min(bytes.len()) {
        let Some(byte) = bytes.get(bytes.len() - back) else { return 0 };
        let long = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if long > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(bytes: &[u8]) -> String {
        let mut cleaner = Cleaner::default();
        let mut text = cleaner.push(bytes);
        text.push_str(&cleaner.finish());
        text
    }

    #[test]
    fn sequences_and_unseen_characters_go() {
        for (raw, want) in [
            (&b"plain \xc3\xa4\n"[..], "plain ä\n"),
            (b"\x1b[1;31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b(Bascii\x1b7", "ascii"),
            (b"10%\r20%\r\ndone\r", "10%\n20%\ndone\n"),
            (b"a\x00b\x08c\x7f", "abc"),
            (b"\xff\xfeend", "\u{fffd}\u{fffd}end"),
            ("\u{202e}left\u{200b}".as_bytes(), "left"),
            (b"\x1b]never ends\nnext", "\nnext"),
            (b"\x9b31m", "\u{fffd}31m"),
            (b"cut \xe2\x82", "cut \u{fffd}"),
        ] {
            assert_eq!(clean(raw), want, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn a_sequence_that_never_ends_hides_no_more_than_its_bound() {
        let mut raw = b"\x1b]".to_vec();
        raw.extend(std::iter::repeat_n(b'x', SEQUENCE_MAX));
        raw.extend(b"seen");
        assert_eq!(clean(&raw), "seen");
    }

    proptest! {
        #[test]
        fn where_output_is_cut_does_not_matter(
            raw in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..200,
        ) {
            let cut = cut.min(raw.len());
            let mut cleaner = Cleaner::default();
            let mut text = cleaner.push(&raw[..cut]);
            text.push_str(&cleaner.push(&raw[cut..]));
            text.push_str(&cleaner.finish());
            prop_assert_eq!(&text, &clean(&raw));
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }

        #[test]
        fn text_stays_what_it_is(raw in "[a-zäöü€🦀 \n\t]{0,60}") {
            prop_assert_eq!(clean(raw.as_bytes()), raw);
        }
    }
}
