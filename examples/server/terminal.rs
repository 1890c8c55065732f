//! The only place that writes to standard output and standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// Standard output for results, standard error for everything about them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Standard output is read by a person.
    pub(crate) live: bool,
    colour: bool,
}

/// A weight of a line on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Progress.
    Quiet,
    /// It went well.
    Good,
    /// Somebody should read it.
    Loud,
    /// It went wrong.
    Bad,
}

impl Terminal {
    /// `no_colour` is the user's wish (the variable `NO_COLOR`, see no-color.org).
    pub(crate) fn new(no_colour: bool) -> Self {
        Self { live: io::stdout().is_terminal(), colour: io::stderr().is_terminal() && !no_colour }
    }

    /// Whether standard error takes colours.
    pub(crate) const fn colour(self) -> bool {
        self.colour
    }

    /// Writes bytes to standard output as they are.
    #[expect(clippy::unused_self, reason = "writing is a right that the value stands for")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes a text to standard output as it is.
    pub(crate) fn text(self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Writes a line to standard output.
    pub(crate) fn line(self, line: &str) -> io::Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a value as one line of JSON to standard output.
    pub(crate) fn json(self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Writes a line to standard error. That nobody reads it is no reason to stop.
    pub(crate) fn note(self, tone: Tone, line: &str) {
        let code = match tone {
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Loud => "33",
            Tone::Bad => "31",
        };
        let line = if self.colour {
            format!("\u{1b}[{code}m{line}\u{1b}[0m\n")
        } else {
            format!("{line}\n")
        };
        // A full or closed standard error leaves no place to say so.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// Writes a table with a head to standard output.
    pub(crate) fn table<const N: usize>(
        self,
        head: [&str; N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        let mut widths = head.map(|cell| cell.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        push_row(&mut text, &head.map(str::to_owned), &widths);
        rows.iter().for_each(|row| push_row(&mut text, row, &widths));
        self.text(&text)
    }
}

fn push_row(text: &mut String, row: &[String], widths: &[usize]) {
    let start = text.len();
    for (cell, width) in row.iter().zip(widths) {
        text.push_str(&format!("{cell:<width$}  "));
    }
    let end = text.get(start..).map_or(start, |line| start + line.trim_end().len());
    text.truncate(end);
    text.push('\n');
}

/// A text of somebody else without what a terminal would obey: escape sequences could hide or
/// forge what a person sees.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// The beginning of a text on one line.
pub(crate) fn short(text: &str, chars: usize) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars + 1).collect();
    if line.chars().count() <= chars {
        return line;
    }
    let mut cut: String = line.chars().take(chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_text_cannot_move_the_cursor_or_set_the_title() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\u{9b}c\r\n\td"), "a[2Jbc\n\td");
    }

    #[test]
    fn a_long_text_is_cut_to_one_line_that_says_so() {
        assert_eq!(short("ab\ncd", 5), "ab cd");
        assert_eq!(short("äöüäöü", 4), "äöü…");
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let mut text = String::new();
        push_row(&mut text, &["ä".to_owned(), "b".to_owned()], &[3, 4]);
        push_row(&mut text, &["aaa".to_owned(), String::new()], &[3, 4]);
        assert_eq!(text, "ä    b\naaa\n");
    }
}
