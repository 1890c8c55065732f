//! Changes of a text: exact replacement, and unified patches.

use std::fmt::Write as _;

use super::error::{FileError, FileErrorKind};

/// Most lines of the places that an answer quotes.
const PLACES_MAX: usize = 5;

/// Replaces `old` by `new`, once, or everywhere when `all`.
///
/// # Errors
/// `Conflict` when `old` is not there, or more than once and not `all`: says where.
pub(super) fn replace(text: &str, old: &str, new: &str, all: bool) -> Result<String, FileError> {
    if old.is_empty() {
        return Err(FileError::new(
            FileErrorKind::Invalid,
            "`old` is empty: write the exact text to replace, or use files.write for a new file",
        ));
    }
    if old == new {
        return Err(FileError::new(FileErrorKind::Invalid, "`old` and `new` are the same"));
    }
    let found = text.matches(old).count();
    match found {
        0 => Err(FileError::new(FileErrorKind::Conflict, not_found(text, old))),
        1 => Ok(text.replacen(old, new, 1)),
        _ if all => Ok(text.replace(old, new)),
        _ => {
            let mut said = format!(
                "`old` is there {found} times: add lines around it until it is unique, or set \
                 `all`. It is at"
            );
            for (at, _) in text.match_indices(old).take(PLACES_MAX) {
                let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
                let _ = write!(said, " line {line},");
            }
            said.truncate(said.trim_end_matches(',').len());
            Err(FileError::new(FileErrorKind::Conflict, said))
        }
    }
}

/// Says why a text was not found, as far as that can be seen.
fn not_found(text: &str, old: &str) -> String {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (wanted, first) = (squeeze(old), old.lines().next().unwrap_or_default().trim());
    let near = text.lines().position(|line| !first.is_empty() && line.trim() == first);
    let hint = match near {
        _ if !wanted.is_empty() && squeeze(text).contains(&wanted) => {
            "; it is there with other spaces or line breaks: copy it exactly".to_owned()
        }
        Some(line) => format!("; line {} begins like it: read the file again", line + 1),
        None => "; read the file again".to_owned(),
    };
    format!("`old` is not in the file{hint}")
}

/// Applies a unified patch.
///
/// # Errors
/// `Invalid` for what is no patch; `Conflict` for one that does not fit.
pub(super) fn patch(text: &str, patch: &str) -> Result<String, FileError> {
    let parsed = diffy::Patch::from_str(patch).map_err(|error| {
        FileError::new(
            FileErrorKind::Invalid,
            format!(
                "`patch` is not a unified patch ({error}): write `@@ -start,count +start,count @@` \
                 before each part, and begin each line with a space, `-` or `+`"
            ),
        )
    })?;
    if parsed.hunks().is_empty() {
        return Err(FileError::new(FileErrorKind::Invalid, "`patch` changes nothing"));
    }
    diffy::apply(text, &parsed).map_err(|error| {
        FileError::new(
            FileErrorKind::Conflict,
            format!("the patch does not fit the file ({error}): read the file and make it anew"),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(result: Result<String, FileError>) -> String {
        result.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_text_is_replaced_where_it_is_unique_or_everywhere() {
        assert_eq!(said(replace("a b c", "b", "x", false)), "a x c");
        assert_eq!(said(replace("b\nb\n", "b", "x", true)), "x\nx\n");
        let twice = said(replace("b\nc\nb\n", "b", "x", false));
        assert!(twice.contains("2 times") && twice.contains("line 1, line 3"), "{twice}");
        let spaces = said(replace("fn  a() {\n}\n", "fn a() {\n}", "x", false));
        assert!(spaces.contains("other spaces"), "{spaces}");
        let near = said(replace("one\n  two\nthree\n", "two\nfour", "x", false));
        assert!(near.contains("line 2 begins like it"), "{near}");
        assert!(said(replace("a", "", "x", false)).contains("empty"));
        assert!(said(replace("a", "a", "a", false)).contains("the same"));
    }

    #[test]
    fn a_patch_fits_or_says_why_not() {
        let fits = "--- a\n+++ b\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        assert_eq!(said(patch("one\ntwo\nthree\n", fits)), "one\n2\nthree\n");
        assert!(said(patch("other\n", fits)).contains("does not fit"));
        assert!(
            said(patch("a\n", "make it better")).contains("not a unified patch")
                || said(patch("a\n", "make it better")).contains("changes nothing")
        );
        assert!(
            said(patch("a\n", "")).contains("changes nothing")
                || said(patch("a\n", "")).contains("not a unified")
        );
    }

    proptest! {
        #[test]
        fn a_patch_of_two_texts_makes_one_of_the_other(a in "([a-c]{0,3}\n){0,12}", b in "([a-c]{0,3}\n){0,12}") {
            let made = diffy::create_patch(&a, &b).to_string();
            if a != b {
                prop_assert_eq!(patch(&a, &made).unwrap(), b);
            }
        }

        #[test]
        fn nothing_that_calls_itself_a_patch_panics(text in any::<String>(), wanted in any::<String>()) {
            let _ = patch(&text, &wanted);
            let _ = replace(&text, &wanted, "x", false);
        }
    }
}
