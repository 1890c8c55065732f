//! Texts of strangers: without what nobody sees, and not longer than somebody reads.

/// Whether a character is invisible, changes the direction of text, or controls a terminal.
pub(super) fn hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// The text without hidden characters, of at most so many bytes.
pub(super) fn clean(text: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars().filter(|c| !hidden(*c)) {
        if clean.len() + c.len_utf8() > bytes_max {
            break;
        }
        clean.push(c);
    }
    clean
}

/// The same on one line.
pub(super) fn line(text: &str, bytes_max: usize) -> String {
    clean(text, bytes_max).replace(['\n', '\t'], " ").trim().to_owned()
}

/// The longest beginning of at most so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_removed() {
        let text = "a\u{200b}b\u{202e}c\u{0}d\u{1b}[31me\u{e0041}\u{feff}f\n\tg\r";
        assert_eq!(clean(text, 100), "abcd[31mef\n\tg");
        assert_eq!(line(text, 100), "abcd[31mef  g");
        assert_eq!(clean("äöü", 3), "ä");
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("ab", 3), "ab");
    }
}
