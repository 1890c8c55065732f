//! Where each setting was given.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::{PREFIX, SETTINGS, Setting, Shape, error::Problems, nearest};

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag of the command.
    Flag,
    /// The environment.
    Environment,
    /// The file, at this line.
    File {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody: it follows from another setting.
    Derived,
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Derived => f.write_str("follows data_dir"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What each setting was said to be, and by whom.
#[derive(Clone)]
pub(crate) struct Given(BTreeMap<&'static str, (String, Source)>);

// Values may be secrets.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, (_, source))| (key, source))).finish()
    }
}

impl Given {
    pub(super) fn defaults() -> Self {
        let default = |s: &Setting| (s.key, (s.default.to_owned(), Source::Default));
        Self(SETTINGS.iter().map(default).collect())
    }

    /// Sets a value, unless it is empty: an empty value is as good as none.
    pub(super) fn set(&mut self, key: &'static str, value: String, source: Source) {
        if !value.is_empty() {
            self.0.insert(key, (value, source));
        }
    }

    /// Reads the environment; a variable with our prefix that is none of ours is a problem.
    pub(super) fn environment(&mut self, all: &[(OsString, OsString)], problems: &mut Problems) {
        for (name, value) in all {
            let Some(name) = name.to_str() else { continue };
            let setting = SETTINGS.iter().find(|setting| setting.env == name);
            match (setting, value.to_str()) {
                (Some(setting), Some(value)) => {
                    self.set(setting.key, value.to_owned(), Source::Environment);
                }
                (Some(_), None) => problems.add(format!("{name} (environment): not UTF-8")),
                (None, value) if name.starts_with(PREFIX) && !service_link(name, value) => {
                    let near = nearest(name, |setting| setting.env);
                    problems.add(format!(
                        "{name} (environment): there is no such setting; did you mean {near}?"
                    ));
                }
                (None, _) => {}
            }
        }
    }

    /// Puts the database into the data directory when only the latter was given.
    pub(super) fn derive_database(&mut self) {
        let default = |given: &Self, key| matches!(given.0.get(key), Some((_, Source::Default)));
        if default(self, "database_url")
            && !default(self, "data_dir")
            && let Some((dir, _)) = self.0.get("data_dir")
        {
            let url = format!("sqlite://{}/agent-runner.db", dir.trim_end_matches('/'));
            self.0.insert("database_url", (url, Source::Derived));
        }
    }

    /// Parses a setting, or says where it is wrong.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        parse: fn(&str) -> Result<T, String>,
        problems: &mut Problems,
    ) -> Option<T> {
        let (text, source) = self.0.get(key)?;
        parse(text)
            .map_err(|problem| {
                let quoted = match hidden(key, text) {
                    None => format!(" = {:?}", text.chars().take(120).collect::<String>()),
                    Some(_) => String::new(),
                };
                problems.add(format!("{}{quoted}: {problem}", place(key, source)));
            })
            .ok()
    }

    /// What a person may see of a setting, and who said it.
    pub(crate) fn shown(&self, key: &str) -> Option<(&str, &Source)> {
        self.0.get(key).map(|(text, source)| (hidden(key, text).unwrap_or(text), source))
    }

    /// Where a setting was given, in words that say where to change it.
    pub(crate) fn place(&self, key: &'static str) -> String {
        self.0.get(key).map_or_else(|| key.to_owned(), |(_, source)| place(key, source))
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.0.values().find_map(|(_, source)| match source {
            Source::File { path, .. } => Some(path.as_path()),
            Source::Flag | Source::Environment | Source::Derived | Source::Default => None,
        })
    }
}

fn place(key: &str, source: &Source) -> String {
    let env = SETTINGS.iter().find(|setting| setting.key == key).map_or(key, |s| s.env);
    match source {
        Source::Flag => format!("--{}", key.replace('_', "-")),
        Source::Environment => format!("{env} (environment)"),
        Source::File { path, line } => format!("{key} ({}, line {line})", path.display()),
        Source::Derived => format!("{key} (follows data_dir)"),
        Source::Default => format!("{key} (default)"),
    }
}

/// What stands for a value that must not be shown: secrets, and addresses that have a password or a
/// key in them or are one.
fn hidden(key: &str, text: &str) -> Option<&'static str> {
    let secret = SETTINGS.iter().any(|s| s.key == key && s.shape == Shape::Secret);
    let address = key.ends_with("_url") || key.ends_with("_host");
    let no_url = key.ends_with("_base_url") && !text.contains("://");
    match (text.is_empty(), secret, address && (no_url || text.contains(['@', '?', '#']))) {
        (false, true, _) => Some("[set]"),
        (false, false, true) => Some("[set, hidden because it may contain a password]"),
        (true, ..) | (false, false, false) => None,
    }
}

/// Whether Kubernetes set the variable: it describes every service to every container, and a
/// service named `agent-runner` gives names that begin like ours.
fn service_link(name: &str, value: Option<&str>) -> bool {
    match name.strip_prefix(PREFIX) {
        Some("PORT") => value.is_some_and(|value| value.contains("://")),
        Some(rest) => {
            rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest.starts_with("PORT_")
        }
        None => false,
    }
}
