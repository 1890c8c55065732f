//! Reading a TOML table strictly: every key is known, every problem has its line.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::PROBLEMS_MAX;

/// What is wrong, and the text in which it is.
pub(super) struct Problems<'a> {
    text: &'a str,
    all: Vec<String>,
}

impl<'a> Problems<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, all: Vec::new() }
    }

    pub(super) fn add(&mut self, at: &Range<usize>, what: impl AsRef<str>) {
        if self.all.len() < PROBLEMS_MAX {
            let line = self.line(at);
            self.all.push(format!("line {line}: {}", what.as_ref()));
        }
    }

    /// The line of a place, counted from 1.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        1 + self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count()
    }

    pub(super) fn into_result<T>(self, done: T) -> Result<T, Vec<String>> {
        if self.all.is_empty() { Ok(done) } else { Err(self.all) }
    }
}

/// A table of which every key is known.
pub(super) struct Table<'t, 'i> {
    table: &'t DeTable<'i>,
    /// Where it begins.
    pub(super) at: Range<usize>,
}

impl<'t, 'i> Table<'t, 'i> {
    /// The table, and a problem for each key that is not in `known`.
    pub(super) fn of(
        table: &'t DeTable<'i>,
        at: Range<usize>,
        known: &[&str],
        problems: &mut Problems<'_>,
    ) -> Self {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name: String = key.get_ref().escape_debug().take(80).collect();
            let known = known.join(", ");
            problems.add(&key.span(), format!("there is no key `{name}`; there are {known}"));
        }
        Self { table, at }
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    /// The value of a key, as `read` has it; `None` when it is missing or wrong.
    pub(super) fn read<T>(
        &self,
        key: &str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&'t DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        read(value.get_ref())
            .map_err(|problem| problems.add(&value.span(), format!("`{key}` {problem}")))
            .ok()
    }

    /// The same for a key that must be there.
    pub(super) fn need<T>(
        &self,
        key: &str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&'t DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            problems.add(&self.at, format!("`{key}` is missing"));
        }
        self.read(key, problems, read)
    }

    /// The tables of a list.
    pub(super) fn list(&self, key: &str, known: &[&str], problems: &mut Problems<'_>) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            problems.add(&value.span(), format!("`{key}` is not a list of tables"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Self::of(table, item.span(), known, problems)),
                None => problems.add(&item.span(), format!("`{key}` has an item that is no table")),
            }
        }
        tables
    }
}
