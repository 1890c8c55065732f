//! An artifact: a named output of a run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ArtifactId, RunId, StepKey};

/// What is known of a named output. Its bytes live in a blob store, under `sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// The run that made it.
    pub run_id: RunId,
    /// The step that made it; `None` for one that a person added.
    pub step: Option<StepKey>,
    /// Its name within the run, such as `report.md`.
    pub name: String,
    /// 1 for the first of that name in the run, and so on.
    pub version: u64,
    /// What it is for people: `document`, `log`, `patch`, …
    pub kind: String,
    /// Its media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Where the bytes are, as the blob store names it.
    pub uri: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is wrong with a name, a kind or a media type of an artifact.
///
/// # Errors
/// The field, and what to do.
pub fn check(name: &str, kind: &str, media_type: &str) -> Result<(), (&'static str, &'static str)> {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    if name.is_empty() || name.len() > 255 || name.chars().any(hidden) {
        return Err(("name", "use 1 to 255 bytes without control and invisible characters"));
    }
    let parts = name.split('/');
    if name.contains('\\')
        || parts.clone().any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(("name", "use a name such as `report.md` or `figures/one.png`"));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if kind.is_empty() || kind.len() > 64 || !kind.chars().all(word) {
        return Err(("kind", "use 1 to 64 letters, digits, `_`, `-` or `.`, such as `document`"));
    }
    let token = |c: char| c.is_ascii_graphic() || c == ' ';
    let slash = media_type.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    if media_type.len() > 200 || !slash || !media_type.chars().all(token) {
        return Err(("media_type", "use a media type such as `text/plain`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_kept_and_packed_without_harm() {
        for good in ["report.md", "figures/one.png", "über uns.txt", ".env"] {
            assert_eq!(check(good, "document", "text/plain"), Ok(()), "{good}");
        }
        let long = "n".repeat(256);
        for bad in ["", "/x", "a//b", "../x", "a/..", "a\\b", "a\nb", "a\u{202e}b", "a/", &long] {
            assert_eq!(check(bad, "document", "text/plain").unwrap_err().0, "name", "{bad:?}");
        }
        assert_eq!(check("a", "", "text/plain").unwrap_err().0, "kind");
        assert_eq!(check("a", "x y", "text/plain").unwrap_err().0, "kind");
        for bad in ["", "text", "/x", "text/", "text/pl\r\nain"] {
            assert_eq!(check("a", "log", bad).unwrap_err().0, "media_type", "{bad:?}");
        }
    }
}
