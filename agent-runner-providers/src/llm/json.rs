//! JSON as models write it.

use std::borrow::Cow;

use memchr::memchr_iter;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;

/// Parses JSON in which `\u` escapes may name lone surrogates, which become U+FFFD.
///
/// Models that emit half of an emoji produce such text and `serde_json` refuses all of it, which
/// would fail a reply for the sake of one character.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(&mend(text))
}

/// A text that is a string in JSON, and anything else as the JSON that it is; `null` is nothing.
pub(crate) fn raw_text(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => parse(text).unwrap_or_default(),
        Some(b'n') | None => String::new(),
        Some(_) => text.to_owned(),
    }
}

/// Whether a number in `text` has digits that would be lost in a [`Value`]: an integer of more than
/// 64 bits, or a fraction that no double is as precise as.
pub(crate) fn has_long_numbers(text: &str) -> bool {
    matches!(quote_long_numbers(text), Cow::Owned(_))
}

/// JSON in which such numbers are strings. What is not JSON stays what it is or not JSON.
pub(crate) fn quote_long_numbers(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    // Up to here `text` stands in `out`.
    let mut copied = 0;
    let (mut quoted, mut escaped) = (false, false);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((from, byte)) = bytes.next() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let mut to = from + 1;
                while bytes.next_if(|(_, byte)| is_of_number(*byte)).is_some() {
                    to += 1;
                }
                let number = text.get(from..to).unwrap_or_default();
                if !survives(number) {
                    out.push_str(text.get(copied..from).unwrap_or_default());
                    out.extend(["\"", number, "\""]);
                    copied = to;
                }
            }
            _ => {}
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// Whether a number keeps all its digits. What is no number at all is nobody's loss.
fn survives(number: &str) -> bool {
    let fraction = number.contains(['.', 'e', 'E']);
    // A double has 15 digits for certain; only an exponent can be too large for it.
    if number.len() <= 15 && !number.contains(['e', 'E']) {
        return true;
    }
    if serde_json::from_str::<IgnoredAny>(number).is_err() {
        return true;
    }
    if !fraction {
        return number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok();
    }
    let read = serde_json::from_str::<Value>(number).ok();
    read.is_some_and(|read| decimal(&read.to_string()) == decimal(number))
}

/// The significant digits of a number and the power of ten that they are multiplied by.
fn decimal(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return (String::new(), 0);
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let zeros = length(digits) - length(significant);
    (significant.to_owned(), exponent.saturating_sub(length(fraction)).saturating_add(zeros))
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

    #[test]
    fn a_number_is_quoted_only_if_it_would_lose_digits() {
        let kept = [
            "0",
            "-0",
            "1.5",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1e3",
            "123456789.123456",
            "0.000000000000000000001",
            "1E-7",
            "1.00000000000000000000",
            "100000000000000.0",
            "\"123456789012345678901234567890\"",
            "{\"12345678901234567890123\":1}",
            "\"\\\"\", 1",
            "012345678901234567890",
            "1.2.3.4.5.6.7.8.9.0",
            "-",
            "nonsense",
        ];
        for text in kept {
            assert_eq!(quote_long_numbers(text), text, "{text}");
        }
        let lost = [
            "18446744073709551616",
            "-9223372036854775809",
            "0.12345678901234567890123",
            "1e400",
            "100000000000000000000",
            "1e-400",
            "3.14159265358979323846",
        ];
        for number in lost {
            let text = format!("{{\"a\\\"\": [ {number},{number}]}}");
            let quoted = format!("{{\"a\\\"\": [ \"{number}\",\"{number}\"]}}");
            assert_eq!(quote_long_numbers(&text), quoted);
        }
    }

    proptest! {
        #[test]
        fn what_a_value_holds_is_never_quoted(float in any::<f64>(), int in any::<i64>()) {
            let text = serde_json::json!([float, int]).to_string();
            // Without its feature for exact floats the parser is off by the last digit at times.
            let exact = serde_json::from_str::<Vec<Value>>(&text).unwrap();
            if exact[0].as_f64() == Some(float) {
                prop_assert!(matches!(quote_long_numbers(&text), Cow::Borrowed(_)), "{text}");
            }
        }

        #[test]
        fn quoting_keeps_json_json_and_the_rest_the_rest(text in "[-0-9.e+\"\\\\, ]{0,40}") {
            let json = format!("[{text}]");
            let quoted = quote_long_numbers(&json);
            let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
            prop_assert_eq!(is_json(&json), is_json(&quoted));
        }

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
