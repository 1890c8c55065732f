//! `[[providers]]` of `agent-runner.toml`: further endpoints.

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

mod read;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use agent_runner::agent::ModelName;
use secrecy::SecretString;

pub(super) use self::read::endpoints;
use super::error::Problems;

/// Largest file with a key that is read, in bytes.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OpenAI's API and what is compatible with it.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Ollama's native API.
    Ollama,
    /// Nothing: it plays scripts.
    Scripted,
    /// Nothing: it asks models of other providers in turn.
    Fallback,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Ollama, Self::Scripted, Self::Fallback];

    /// Its name in the file.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Scripted => "scripted",
            Self::Fallback => "fallback",
        }
    }

    /// The service itself, where the kind has one.
    pub(crate) const fn service(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com"),
            Self::Ollama | Self::Scripted | Self::Fallback => None,
        }
    }
}

/// Where an endpoint's key is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Key {
    /// It needs none.
    #[default]
    None,
    /// In an environment variable of this name.
    Variable(String),
    /// In a file.
    File(PathBuf),
    /// Here.
    Known(SecretString),
    /// In an environment variable of this name that is not set.
    Missing(String),
}

/// One table of the file, checked as far as one can without the others.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The first part of its models' names.
    pub(crate) name: String,
    /// What it speaks.
    pub(crate) kind: Kind,
    /// Where it is; where the kind's service is when `None`.
    pub(crate) base_url: Option<String>,
    /// Its key.
    pub(crate) key: Key,
    /// In what an OpenAI-compatible server differs.
    pub(crate) profile: Option<String>,
    /// Whether it speaks OpenAI's responses API instead of chat completions.
    pub(crate) responses: bool,
    /// Longest context to ask an Ollama server for, in tokens.
    pub(crate) context_max: Option<u64>,
    /// Directory of scripts.
    pub(crate) scripts_dir: Option<PathBuf>,
    /// Lists of models to ask in turn, by name.
    pub(crate) routes: BTreeMap<String, Vec<ModelName>>,
    /// Whose prices its models have.
    pub(crate) prices_as: Option<String>,
    /// How much it is asked.
    pub(crate) limits: Limits,
    /// Whether it is left alone for a while after it failed several times.
    pub(crate) breaker: bool,
    /// How long it is waited for.
    pub(crate) timeouts: Waits,
    /// The file and the line of its table.
    place: (PathBuf, usize),
}

/// How much an endpoint is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most requests in a minute.
    pub(crate) requests_per_minute: Option<NonZeroU64>,
    /// Most tokens in a minute.
    pub(crate) tokens_per_minute: Option<NonZeroU64>,
    /// Most requests at once.
    pub(crate) max_concurrency: Option<NonZeroUsize>,
}

/// How long an endpoint is waited for, where it is not as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// For the connection.
    pub(crate) connect: Option<Duration>,
    /// For the first byte of an answer.
    pub(crate) first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub(crate) idle: Option<Duration>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("without a key"),
            Self::Known(_) | Self::File(_) => f.write_str("key [set]"),
            Self::Variable(name) | Self::Missing(name) => write!(f, "{name} is not set"),
        }
    }
}

impl Endpoint {
    /// Where its table stands, as the sources of settings are written.
    pub(crate) fn source(&self) -> String {
        format!("{}:{}", self.place.0.display(), self.place.1)
    }

    /// Its place, in words that say where to change it.
    pub(crate) fn place(&self) -> Place<'_> {
        Place(&self.place.0, self.place.1, &self.name)
    }

    /// The file it stands in.
    pub(super) fn file(&self) -> &Path {
        &self.place.0
    }

    /// Its key, once it was looked for.
    pub(crate) fn secret(&self) -> Option<SecretString> {
        match &self.key {
            Key::Known(secret) => Some(secret.clone()),
            Key::None | Key::Variable(_) | Key::File(_) | Key::Missing(_) => None,
        }
    }

    /// Looks for the key. A variable that is not set leaves the endpoint out; a file that cannot be
    /// read is a problem.
    pub(super) fn resolve(
        &mut self,
        environment: &[(OsString, OsString)],
        problems: &mut Problems,
    ) {
        let key = match &self.key {
            Key::Variable(name) => {
                let found = environment.iter().find(|(key, _)| key == name.as_str());
                match found.map(|(_, value)| value.to_str()) {
                    Some(Some(value)) if !value.is_empty() => Key::Known(SecretString::from(value)),
                    Some(None) => {
                        problems.add(format!("{}: {name} (environment): not UTF-8", self.place()));
                        return;
                    }
                    Some(Some(_)) | None => Key::Missing(name.clone()),
                }
            }
            Key::File(path) => match from_file(path) {
                Ok(secret) => Key::Known(secret),
                Err(problem) => {
                    let path = path.display();
                    problems.add(format!("{}: api_key_file {path}: {problem}", self.place()));
                    return;
                }
            },
            Key::None | Key::Known(_) | Key::Missing(_) => return,
        };
        self.key = key;
    }
}

/// A key from a file that holds nothing else.
fn from_file(path: &Path) -> Result<SecretString, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > KEY_BYTES_MAX {
        return Err("is larger than 16 KiB, so it is no key".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let key = text.trim();
    if key.is_empty() { Err("is empty".to_owned()) } else { Ok(SecretString::from(key)) }
}

/// The place of an endpoint's table.
pub(crate) struct Place<'a>(&'a Path, usize, &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: provider `{}`", self.0.display(), self.1, self.2)
    }
}

#[cfg(test)]
mod tests;
