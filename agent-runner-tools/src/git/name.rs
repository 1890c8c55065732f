//! Names of branches and revisions that come from a model or a client.

use std::fmt;

use agent_runner_core::tool::ToolError;

use super::error::invalid;

/// Longest name, in bytes: it becomes a path below `refs/heads`.
const NAME_BYTES_MAX: usize = 200;
/// Most commits that `~n` goes back.
const BACK_MAX: usize = 10_000;

/// The name of a branch, such as `agents/fix-login`.
///
/// ASCII letters, digits and `. _ - + = # @ /`; it begins with a letter, a digit or `_`, so it is
/// never an option or a path out of anything, and has none of the syntax of revisions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BranchName(String);

impl BranchName {
    /// Parses a name.
    ///
    /// # Errors
    /// `InvalidArgs`, with the rules.
    pub fn parse(text: &str) -> Result<Self, ToolError> {
        if is_name(text) && git2::Reference::is_valid_name(&format!("refs/heads/{text}")) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(
                "a branch's name has 1 to 200 letters, digits and `. _ - + = # @ /`, begins with a \
                 letter, a digit or `_`, and has no empty part, no `..` and no end in `.lock`",
            ))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole name of its reference.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-+=#@/".contains(c);
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !part.to_ascii_lowercase().ends_with(".lock")
    };
    let first = text.chars().next();
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(legal)
        && !text.contains("..")
        && text.split('/').all(part)
        && !matches!(
            text.to_ascii_uppercase().as_str(),
            "HEAD" | "FETCH_HEAD" | "ORIG_HEAD" | "MERGE_HEAD"
        )
}

/// What names a commit: `HEAD`, a branch, `<remote>/<branch>`, a tag, or 7 to 40 hexadecimal digits
/// of its id; with `~n` the n-th commit before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rev {
    pub(super) base: String,
    pub(super) back: usize,
}

impl Rev {
    /// Parses what names a commit.
    ///
    /// # Errors
    /// `InvalidArgs`, with the forms.
    pub fn parse(text: &str) -> Result<Self, ToolError> {
        let (base, back) = match text.split_once('~') {
            None => (text, Some(0)),
            Some((base, "")) => (base, Some(1)),
            Some((base, n)) => (base, n.parse().ok().filter(|n| *n <= BACK_MAX)),
        };
        match back {
            Some(back) if base == "HEAD" || is_name(base) => {
                Ok(Self { base: base.to_owned(), back })
            }
            _ => Err(invalid(
                "name a commit as `HEAD`, a branch, `<remote>/<branch>`, a tag or 7 to 40 digits of \
                 its id; `HEAD~2` is the second one before it",
            )),
        }
    }

    /// `HEAD`.
    #[must_use]
    pub fn head() -> Self {
        Self { base: "HEAD".to_owned(), back: 0 }
    }

    /// Whether it may be a part of an id.
    pub(super) fn is_hex(&self) -> bool {
        (7..=40).contains(&self.base.len()) && self.base.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.back {
            0 => f.write_str(&self.base),
            back => write!(f, "{}~{back}", self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["main", "agents/fix-1", "v1.2.x", "_x", "a@b", "release/2026+1", "x#1=y"] {
            assert_eq!(BranchName::parse(name).unwrap().reference(), format!("refs/heads/{name}"));
        }
        for (text, back) in [("HEAD", 0), ("main~", 1), ("origin/main~3", 3), ("0123abc", 0)] {
            assert_eq!(Rev::parse(text).unwrap().back, back);
        }
    }

    #[test]
    fn options_paths_and_revision_syntax_are_no_names() {
        let long = "a".repeat(201);
        for name in [
            "",
            "-f",
            "--upload-pack=x",
            "a/-f",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "..",
            "a/../b",
            "a..b",
            "a.",
            "a.lock",
            "a.LOCK/b",
            "HEAD",
            "head",
            "a@{1}",
            "a^",
            "a~1",
            "a:b",
            ":a",
            "a b",
            "a\nb",
            "a\0",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "+a",
            "ü",
            "@",
            "refs\u{200b}",
            &long,
        ] {
            assert!(BranchName::parse(name).is_err(), "{name:?}");
        }
        for text in [
            "",
            "HEAD^",
            "HEAD@{1}",
            "a..b",
            ":/x",
            "main:file",
            "~1",
            "main~x",
            "main~99999",
            "-p",
        ] {
            assert!(Rev::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_name_for_git_too(text in "[ -~]{0,20}") {
            if let Ok(name) = BranchName::parse(&text) {
                prop_assert!(git2::Branch::name_is_valid(name.as_str()).unwrap());
                prop_assert!(!name.as_str().contains("..") && !name.as_str().starts_with('-'));
            }
            let _ = Rev::parse(&text);
        }
    }
}
