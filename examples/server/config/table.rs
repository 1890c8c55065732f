//! Tables of `agent-runner.toml`, read key by key. Values are not quoted: people paste keys into
//! the wrong place.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use toml::de::{DeTable, DeValue};

use super::{error::Problems, value};

/// Keys under which people put a secret itself.
pub(super) const SECRETS: [&str; 8] =
    ["api_key", "apikey", "key", "token", "secret", "password", "auth", "authorization"];

/// Reads the tables of one file, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        1 + self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count()
    }

    pub(super) fn wrong(&mut self, at: &Range<usize>, what: &str) {
        let line = self.line(at);
        self.problems.add(format!("{}, line {line}: {what}", self.path.display()));
    }

    /// The value of a key, as `parse` has it.
    pub(super) fn read<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        parse: fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = table.get(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.wrong(&value.span(), &format!("`{key}`: {problem}"));
                None
            }
        }
    }

    /// The same of a key that `whose` must have.
    pub(super) fn need<T>(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        whose: &str,
        key: &str,
        parse: fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if table.get(key).is_none() {
            self.wrong(at, &format!("{whose} needs a `{key}`"));
        }
        self.read(table, key, parse)
    }

    /// A problem for each key that `whose` does not have.
    pub(super) fn only(&mut self, table: &DeTable<'_>, whose: &str, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let shown: String = name.escape_debug().take(80).collect();
            let what = if SECRETS.contains(&name.to_ascii_lowercase().as_str()) {
                format!(
                    "`{shown}`: a secret may not stand in this file. Put it into an environment \
                     variable and name that"
                )
            } else {
                let lower = name.to_lowercase();
                let near = known.iter().min_by_key(|it| strsim::damerau_levenshtein(&lower, it));
                let near = near.unwrap_or(&"name");
                format!("{whose} has no `{shown}`; did you mean `{near}`?")
            };
            self.wrong(&key.span(), &what);
        }
    }
}

pub(super) fn words(value: &DeValue<'_>) -> Result<String, String> {
    let text = value.as_str().ok_or("not a string")?;
    if text.is_empty() { Err("empty".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = words(value)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.len() > 64 || !name.chars().all(fits) {
        return Err("not 1 to 64 of a-z, 0-9, `-`, `_`, `.`".to_owned());
    }
    Ok(name)
}

/// The name of a variable, and not its value by mistake.
pub(super) fn variable(value: &DeValue<'_>) -> Result<String, String> {
    let name = words(value)?;
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    if !begins || name.len() > 128 || !name.chars().all(fits) {
        return Err("not the name of an environment variable such as MY_API_KEY (the name of the \
             variable, not the key itself)"
            .to_owned());
    }
    Ok(name)
}

pub(super) fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "not true or false".to_owned())
}

pub(super) fn count<T: TryFrom<u64>>(value: &DeValue<'_>) -> Result<T, String> {
    let number =
        value.as_integer().and_then(|it| u64::from_str_radix(it.as_str(), it.radix()).ok());
    number
        .filter(|number| (1..=1 << 40).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| "not a whole number above 0, or too large".to_owned())
}

pub(super) fn wait(value: &DeValue<'_>) -> Result<Duration, String> {
    value::interval(&words(value)?)
}

/// A list of strings.
pub(super) fn list(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wrong = || "not a list of strings".to_owned();
    let items = value.as_array().filter(|items| items.len() <= 1_000).ok_or_else(wrong)?;
    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// A table of strings.
pub(super) fn map(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let wrong = || "not a table of strings: { NAME = \"text\" }".to_owned();
    let table = value.as_table().filter(|table| table.len() <= 1_000).ok_or_else(wrong)?;
    table
        .iter()
        .map(|(key, value)| {
            let text = value.get_ref().as_str().ok_or_else(wrong)?;
            Ok((key.get_ref().to_string(), text.to_owned()))
        })
        .collect()
}

/// A table of names of environment variables.
pub(super) fn variables(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let wrong = || "not a table of names of variables: { NAME = \"VARIABLE\" }".to_owned();
    let table = value.as_table().filter(|table| table.len() <= 1_000).ok_or_else(wrong)?;
    table
        .iter()
        .map(|(key, value)| Ok((key.get_ref().to_string(), variable(value.get_ref())?)))
        .collect()
}
