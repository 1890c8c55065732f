//! The one parser of paths that come from a model or a client.

use std::{fmt, str::FromStr};

use super::error::{FileError, FileErrorKind};

/// Longest path, in bytes. Linux takes 4,096 with the root in front.
const PATH_BYTES_MAX: usize = 4_000;
/// Longest component, in bytes: what ext4, xfs, btrfs and APFS take.
const NAME_BYTES_MAX: usize = 255;

/// A path inside a project, such as `notes/plan.md`.
///
/// It is relative, has no `.` or `..`, no control or invisible character, no `\` and no `:`, and
/// never names Git's own directory, whatever the disk makes of letter case. Its text is exactly
/// what was parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(String);

impl RelPath {
    /// Parses a path.
    ///
    /// # Errors
    /// [`FileErrorKind::Denied`] for a path that leads out of the project or into `.git`,
    /// [`FileErrorKind::Invalid`] for any other that is not a path; the text says which rule. It
    /// does not repeat the path, which may hold anything.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(invalid("a path has 1 to 4,000 bytes"));
        }
        if text.starts_with(['/', '~', '\\']) {
            return Err(denied(
                "a path starts in the project's directory: write `notes/plan.md`, not an absolute \
                 path or one from a home directory",
            ));
        }
        for component in text.split('/') {
            check_component(component)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its names, the outermost directory first. There is at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The names of its directories, and its own name.
    pub(crate) fn split_name(&self) -> (impl Iterator<Item = &str>, &str) {
        let (parents, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (parents.split('/').filter(|parent| !parent.is_empty()), name)
    }
}

impl FromStr for RelPath {
    type Err = FileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks one name, of a path or as a directory holds it.
pub(crate) fn check_component(name: &str) -> Result<(), FileError> {
    if name.is_empty() {
        return Err(invalid("a path has no empty part: write `a/b`, not `a//b` or `a/`"));
    }
    if name == ".." {
        return Err(denied("a path has no `..`: it cannot leave the project's directory"));
    }
    if name.chars().all(|c| c == '.') {
        return Err(invalid("a path has no part of dots only: write `a/b`, not `./a/b`"));
    }
    if is_git(name) {
        return Err(denied("`.git` belongs to Git and is closed to the file tools"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(invalid("a name in a path has at most 255 bytes"));
    }
    if name.contains(['\\', ':']) {
        return Err(invalid("a path has neither `\\` nor `:`; directories are separated by `/`"));
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err(invalid("a path has no control character and no invisible character"));
    }
    Ok(())
}

/// Whether some file system takes the name for `.git`: letter case (APFS, NTFS), ignored code
/// points (HFS+), trailing dots and spaces and streams (NTFS), short names such as `git~1`
/// (FAT, NTFS). These are the rules of Git's own `core.protectHFS` and `core.protectNTFS`.
fn is_git(name: &str) -> bool {
    let seen: String = name.chars().filter(|c| !is_invisible(*c)).collect();
    let seen = seen.to_ascii_lowercase();
    let seen = seen.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let short = seen.strip_prefix("git~");
    seen == ".git" || short.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Zero-width characters and bidirectional controls: they make two names look alike
/// (Unicode Technical Report 36), and HFS+ ignores some of them.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
    )
}

fn invalid(message: &str) -> FileError {
    FileError::new(FileErrorKind::Invalid, message)
}

fn denied(message: &str) -> FileError {
    FileError::new(FileErrorKind::Denied, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> FileErrorKind {
        RelPath::parse(text).unwrap_err().kind()
    }

    #[test]
    fn ordinary_paths_keep_their_text() {
        for text in [
            "a",
            "a/b.txt",
            ".env",
            ".gitignore",
            ".github/ci.yml",
            "naïve/文件",
            "a..b",
            "git",
            "git~",
            "x.git",
        ] {
            let path = RelPath::parse(text).unwrap();
            assert_eq!(path.to_string(), text);
            assert_eq!(path.components().collect::<Vec<_>>().join("/"), text);
        }
        RelPath::parse(&"n".repeat(255)).unwrap();
        RelPath::parse(&["d"; 2_000].join("/")).unwrap();
    }

    #[test]
    fn a_path_out_of_the_project_is_denied() {
        for text in [
            "..",
            "../a",
            "a/../../b",
            "a/..",
            "/etc/passwd",
            "/",
            "~/x",
            "~root",
            "\\\\host\\share",
            "\\x",
        ] {
            assert_eq!(kind(text), FileErrorKind::Denied, "{text}");
        }
    }

    #[test]
    fn git_is_denied_in_every_disguise() {
        for text in [
            ".git",
            ".GIT",
            ".gIt/config",
            "a/.git/hooks/x",
            ".g\u{200c}it",
            ".git\u{feff}",
            "\u{202e}.git",
            "git~1",
            "GIT~12/config",
            ".git.",
            ".git ",
            ".git. .",
            ".git::$INDEX_ALLOCATION",
        ] {
            assert_eq!(kind(text), FileErrorKind::Denied, "{}", text.escape_debug());
        }
    }

    #[test]
    fn what_is_no_path_is_invalid() {
        let long_name = "n".repeat(256);
        let long_path = ["dir"; 1_050].join("/");
        for text in [
            "",
            "a//b",
            "a/",
            ".",
            "./a",
            "a/./b",
            "...",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            "C:/x",
            "a:stream",
            "a\\b",
            "a\u{200b}b",
            "a\u{202e}txt.exe",
            &long_name,
            &long_path,
        ] {
            assert_eq!(kind(text), FileErrorKind::Invalid, "{}", text.escape_debug());
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_what_it_takes(text in any::<String>()) {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert_eq!(path.as_str(), text.as_str());
            }
        }

        #[test]
        fn displaying_and_parsing_again_is_the_identity(text in "[a-zA-Z0-9._ é-]{1,12}(/[a-zA-Z0-9._ é-]{1,12}){0,5}") {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert_eq!(RelPath::parse(&path.to_string()).unwrap(), path);
            }
        }

        #[test]
        fn an_accepted_path_has_only_plain_components(text in "[./~\\\\:gitGIT\u{200c}\u{0}a]{1,16}") {
            if let Ok(path) = RelPath::parse(&text) {
                let plain = std::path::Path::new(path.as_str())
                    .components()
                    .all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(plain);
                prop_assert!(path.components().all(|c| !c.eq_ignore_ascii_case(".git")));
            }
        }
    }
}
