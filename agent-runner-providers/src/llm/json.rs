//! JSON as models write it.

use std::borrow::Cow;

use memchr::memchr_iter;
use serde::de::DeserializeOwned;

/// Parses JSON in which `\u` escapes may name lone surrogates, which become U+FFFD.
///
/// Models that emit half of an emoji produce such text and `serde_json` refuses all of it, which
/// would fail a reply for the sake of one character.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(&mend(text))
}

fn mend(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_surrogate =
        |at: usize| bytes.get(at..at + 3).is_some_and(|escape| matches!(escape, b"\\ud" | b"\\uD"));
    if !memchr_iter(b'\\', bytes).any(is_surrogate) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let length = match unit(escape) {
            Some(0xD800..=0xDBFF) if escape.get(6..).and_then(unit).is_some_and(is_low) => 12,
            Some(0xD800..=0xDFFF) => {
                out.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            Some(_) => 6,
            None => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        let (kept, tail) = escape.split_at(length);
        out.push_str(kept);
        rest = tail;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The UTF-16 unit that an escape at the beginning of `text` names.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}

/// Whether JSON may say `"error"`, as a field or as a word. Never inside a longer text, where the
/// quotes are escaped.
#[cfg(feature = "_http")]
pub(crate) fn says_error(text: &str) -> bool {
    static WORD: std::sync::LazyLock<memchr::memmem::Finder<'_>> =
        std::sync::LazyLock::new(|| memchr::memmem::Finder::new("\"error\""));
    WORD.find(text.as_bytes()).is_some()
}

const fn is_low(unit: u32) -> bool {
    matches!(unit, 0xDC00..=0xDFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_surrogates_become_the_replacement_character_and_pairs_stay() {
        let table = [
            (r#""\ud800""#, "\u{FFFD}"),
            (r#""a\uDFFFb""#, "a\u{FFFD}b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
            (r#""\ud83dx\ude00""#, "\u{FFFD}x\u{FFFD}"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""\\\ud800""#, "\\\u{FFFD}"),
            (r#""\u0000\ud800""#, "\0\u{FFFD}"),
        ];
        for (json, expected) in table {
            assert_eq!(parse::<String>(json).unwrap(), expected, "{json}");
        }
        assert!(parse::<String>(r#""\ud8"#).is_err());
        assert!(parse::<String>("\"\\ud800\\\u{fc}").is_err());
    }

    proptest! {
        #[test]
        fn json_without_lone_surrogates_is_left_alone(text in any::<String>()) {
            let json: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(parse::<String>(&format!("\"{json}\"")).unwrap(), text);
        }

        #[test]
        fn any_units_parse(units in proptest::collection::vec(any::<u16>(), 0..8)) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(
                parse::<String>(&format!("\"{json}\"")).unwrap(),
                String::from_utf16_lossy(&units)
            );
        }
    }
}
