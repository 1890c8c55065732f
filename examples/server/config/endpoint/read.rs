//! The tables as endpoints. Values are not quoted: people paste keys into the wrong place.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
};

use agent_runner::agent::ModelName;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Endpoint, Key, Kind, Limits, Waits};
use crate::config::{
    error::Problems,
    table::{Reader, SECRETS, count, name, switch, variable, wait, words},
};

/// Most endpoints.
const ENDPOINTS_MAX: usize = 100;
/// Keys of every kind that talks to a server.
const SERVER: [&str; 11] = [
    "base_url",
    "api_key_env",
    "api_key_file",
    "prices_as",
    "requests_per_minute",
    "tokens_per_minute",
    "max_concurrency",
    "breaker",
    "connect_timeout",
    "first_byte_timeout",
    "idle_timeout",
];
/// Which keys a kind has beside `name` and `kind`.
pub(super) fn keys(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::OpenAi => [&SERVER[..], &["profile", "api"]].concat(),
        Kind::Anthropic | Kind::Gemini => SERVER.to_vec(),
        Kind::Ollama => [&SERVER[..], &["context_max"]].concat(),
        Kind::Scripted => vec!["scripts_dir"],
        Kind::Fallback => vec!["routes"],
    }
}

/// Reads the value of `providers`.
pub(in crate::config) fn endpoints(
    value: &Spanned<DeValue<'_>>,
    path: &Path,
    text: &str,
    problems: &mut Problems,
) -> Vec<Endpoint> {
    let mut reader = Reader { path, text, problems };
    let Some(tables) = value.get_ref().as_array() else {
        reader.wrong(&value.span(), "`providers` is a list of tables: [[providers]]");
        return Vec::new();
    };
    if tables.len() > ENDPOINTS_MAX {
        reader.wrong(&value.span(), "there are more than 100 `providers`");
        return Vec::new();
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in tables {
        let Some(table) = item.get_ref().as_table() else {
            reader.wrong(&item.span(), "`providers` is a list of tables: [[providers]]");
            continue;
        };
        let Some(endpoint) = reader.endpoint(table, &item.span()) else { continue };
        if let Some(first) = endpoints.iter().find(|first| first.name == endpoint.name) {
            let line = first.place.1;
            let what = format!("provider `{}` stands in line {line} already", endpoint.name);
            reader.wrong(&item.span(), &what);
        }
        endpoints.push(endpoint);
    }
    endpoints
}

impl Reader<'_> {
    fn endpoint(&mut self, table: &DeTable<'_>, at: &Range<usize>) -> Option<Endpoint> {
        let name = self.need(table, at, "a provider", "name", name);
        let kind = self.need(table, at, "a provider", "kind", kind)?;
        self.known(table, kind);
        let key = self.key(table);
        let routes = self.read(table, "routes", routes).unwrap_or_default();
        if kind == Kind::Fallback && routes.is_empty() {
            self.wrong(at, "a fallback needs routes = { name = [\"provider/model\", …] }");
        }
        let limits = Limits {
            requests_per_minute: self.read(table, "requests_per_minute", count),
            tokens_per_minute: self.read(table, "tokens_per_minute", count),
            max_concurrency: self.read(table, "max_concurrency", size),
        };
        let timeouts = Waits {
            connect: self.read(table, "connect_timeout", wait),
            first_byte: self.read(table, "first_byte_timeout", wait),
            idle: self.read(table, "idle_timeout", wait),
        };
        Some(Endpoint {
            name: name?,
            kind,
            base_url: self.read(table, "base_url", words),
            key,
            profile: self.read(table, "profile", words),
            responses: self.read(table, "api", api).unwrap_or(false),
            context_max: self.read(table, "context_max", count),
            scripts_dir: self.read(table, "scripts_dir", words).map(PathBuf::from),
            routes,
            prices_as: self.read(table, "prices_as", words),
            limits,
            breaker: self.read(table, "breaker", switch).unwrap_or(false),
            timeouts,
            place: (self.path.to_owned(), self.line(at)),
        })
    }

    /// A problem for each key that the kind does not have.
    fn known(&mut self, table: &DeTable<'_>, kind: Kind) {
        let mut known = keys(kind);
        known.extend(["name", "kind"]);
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let what = if SECRETS.contains(&name.to_ascii_lowercase().as_str()) {
                let shown: String = name.escape_debug().take(80).collect();
                format!(
                    "`{shown}`: a key may not stand in this file. Put it into an environment \
                     variable and write api_key_env = \"ITS_NAME\", or into a file that only this \
                     user can read and write api_key_file = \"its path\""
                )
            } else {
                unknown(name, kind, &known)
            };
            self.wrong(&key.span(), &what);
        }
    }

    fn key(&mut self, table: &DeTable<'_>) -> Key {
        let variable = self.read(table, "api_key_env", variable);
        let file = self.read(table, "api_key_file", words);
        if let (Some(_), Some(value)) = (&variable, table.get("api_key_file")) {
            self.wrong(&value.span(), "give api_key_env or api_key_file, not both");
        }
        match (variable, file) {
            (Some(name), _) => Key::Variable(name),
            (None, Some(path)) => Key::File(PathBuf::from(path)),
            (None, None) => Key::None,
        }
    }
}

/// What to say about a key that the kind does not have.
fn unknown(name: &str, kind: Kind, known: &[&str]) -> String {
    let shown: String = name.escape_debug().take(80).collect();
    let others: Vec<&str> =
        Kind::ALL.into_iter().filter(|it| keys(*it).contains(&name)).map(Kind::as_str).collect();
    if !others.is_empty() {
        let others = others.join(", ");
        return format!("`{shown}` is not for kind = \"{}\", but for {others}", kind.as_str());
    }
    let lower = name.to_lowercase();
    let near = known.iter().min_by_key(|key| strsim::damerau_levenshtein(&lower, key));
    format!("a provider has no `{shown}`; did you mean `{}`?", near.unwrap_or(&"name"))
}

fn kind(value: &DeValue<'_>) -> Result<Kind, String> {
    let text = words(value)?;
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let all: Vec<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
        format!("not one of {}", all.join(", "))
    })
}

fn api(value: &DeValue<'_>) -> Result<bool, String> {
    match words(value)?.as_str() {
        "chat" => Ok(false),
        "responses" => Ok(true),
        _ => Err("not chat or responses".to_owned()),
    }
}

fn size(value: &DeValue<'_>) -> Result<NonZeroUsize, String> {
    count::<usize>(value).map(|number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN))
}

fn routes(value: &DeValue<'_>) -> Result<BTreeMap<String, Vec<ModelName>>, String> {
    let wrong = || "not { name = [\"provider/model\", …] }".to_owned();
    let table = value.as_table().ok_or_else(wrong)?;
    let mut routes = BTreeMap::new();
    for (name, models) in table {
        let models = models.get_ref().as_array().filter(|list| (1..=20).contains(&list.len()));
        let models: Option<Vec<ModelName>> = models
            .ok_or_else(wrong)?
            .iter()
            .map(|model| model.get_ref().as_str()?.parse().ok())
            .collect();
        routes.insert(name.get_ref().to_string(), models.ok_or_else(wrong)?);
    }
    if routes.len() > 100 { Err("more than 100 routes".to_owned()) } else { Ok(routes) }
}
