//! `agent-runner.toml`.

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::path::Path;

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    SETTINGS, Shape,
    endpoint::{self, Endpoint},
    error::{ConfigError, Problems},
    nearest,
    outside::{Environment, Outside},
    source::{Given, Source},
};

/// Keys of lists of tables, which are no settings.
const PROVIDERS: &str = "providers";
const MCP_SERVERS: &str = "mcp_servers";
const GIT_CREDENTIALS: &str = "git_credentials";

/// What the file has beside settings.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) outside: Outside,
}

/// Reads the file into `given`. A key or value that is wrong is a problem; a file that cannot be
/// read or is no TOML is an error at once, because nothing after it would make sense.
pub(super) fn read(
    path: &Path,
    environment: &Environment,
    given: &mut Given,
    problems: &mut Problems,
) -> Result<Tables, ConfigError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format!("{shown}: cannot be read: {error}")))?;
    let document = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line(&text, span.start));
        // The error's own text would quote the line, which may hold a key.
        ConfigError::new(format!("{shown}, line {line}: {}", error.message()))
    })?;
    let mut tables = Tables::default();
    for (key, value) in document.get_ref() {
        let name = key.get_ref();
        let file = (path, text.as_str());
        match name.as_ref() {
            PROVIDERS => tables.endpoints = endpoint::endpoints(value, path, &text, problems),
            MCP_SERVERS => tables.outside.mcp_servers(value, file, environment, problems),
            GIT_CREDENTIALS => tables.outside.git_credentials(value, file, environment, problems),
            _ => setting((key, value), file, given, problems),
        }
    }
    Ok(tables)
}

/// Reads one setting.
fn setting(
    (key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>),
    (path, text): (&Path, &str),
    given: &mut Given,
    problems: &mut Problems,
) {
    let (name, shown) = (key.get_ref(), path.display());
    let line = line(text, key.span().start);
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == name) else {
        let near = nearest(name, |setting| setting.key);
        let name: String = name.escape_debug().take(120).collect();
        problems.add(format!(
            "{shown}, line {line}: there is no setting `{name}`; did you mean `{near}`?"
        ));
        return;
    };
    if setting.shape == Shape::Secret {
        problems.add(format!(
            "{shown}, line {line}: `{name}` is a secret and may not stand in this file; set {} \
             instead",
            setting.env
        ));
        return;
    }
    match scalar(value.get_ref()) {
        Some(text) => given.set(setting.key, text, Source::File { path: path.to_owned(), line }),
        None => problems.add(format!(
            "{shown}, line {line}: `{name}` must be a string, a number, true or false, or a list of strings"
        )),
    }
}

/// The value as the environment would hold it.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
