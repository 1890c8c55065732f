//! Text of a service made fit for an error message: short, on one line, without the key.

/// Most bytes of a service's text that an error quotes.
const EXCERPT_BYTES_MAX: usize = 1024;

/// At most 1 KiB of `text` on one line, with every occurrence of `secret` removed.
///
/// Services do echo the key that they refuse, so the key is removed before the text is cut: a cut
/// key would no longer be recognised.
pub(crate) fn excerpt(text: &str, secret: Option<&str>) -> String {
    let mut text = match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[redacted]"),
        _ => text.to_owned(),
    };
    if text.len() > EXCERPT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(EXCERPT_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_control_characters_become_blanks() {
        let cut = excerpt(&"ä".repeat(2000), None);
        assert!(cut.len() <= EXCERPT_BYTES_MAX && cut.ends_with("ä…"));
        assert_eq!(excerpt(" a\r\n\u{1b}[31m\0b ", None), "a [31m b");
    }

    #[test]
    fn a_key_is_removed_even_where_the_text_is_cut() {
        let text = format!("{}sk-secret", "x".repeat(EXCERPT_BYTES_MAX - 5));
        assert!(!excerpt(&text, Some("sk-secret")).contains("sk-"));
        assert_eq!(excerpt("key sk-1, sk-1", Some("sk-1")), "key [redacted], [redacted]");
        assert_eq!(excerpt("abc", Some("")), "abc");
    }
}
