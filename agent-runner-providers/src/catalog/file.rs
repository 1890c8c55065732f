//! What an operator says of models, in a TOML file.

mod amount;
mod read;
mod table;

use std::fmt;

use agent_runner_core::{
    agent::ModelName,
    llm::{Capabilities, FactSource, ModelCatalog, Price, Rates},
};
use jiff::Timestamp;

/// Largest file that is read, in bytes.
const BYTES_MAX: usize = 1024 * 1024;
/// Most things that are said to be wrong at once.
const PROBLEMS_MAX: usize = 20;

/// What an operator says of models: what they cost and what they can do.
///
/// ```
/// use agent_runner_core::llm::{FactSource, ModelCatalog as _};
/// use agent_runner_providers::ModelsFile;
///
/// let text = r#"
///     [[models]]
///     model = "local/*"
///     tools = true
///     context_window = 32_768
///     prices = [{ input = 0, output = 0 }]
///
///     [[models]]
///     model = "anthropic/claude-sonnet-5-5"
///
///     [[models.prices]] # USD per million tokens
///     effective_until = 2027-01-01
///     input = 2
///     output = 10
///     cache_read = 0.1
///     tiers = [{ above = 200_000, input = 4, output = 15 }]
/// "#;
/// let file = ModelsFile::parse(text, "models.toml")?;
/// let local = file.price(&"local/qwen3".parse()?, "2026-11-22T12:00:00Z".parse()?).unwrap();
/// assert_eq!((local.rates.input, local.source), (0, FactSource::Operator));
/// let cloud = "anthropic/claude-sonnet-5-5".parse()?;
/// assert!(file.price(&cloud, "2027-01-01T00:00:00Z".parse()?).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelsFile {
    // The most specific pattern first.
    entries: Vec<Entry>,
}

/// What is said of the models that a pattern fits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    pattern: Pattern,
    capabilities: Capabilities,
    prices: Vec<Period>,
}

/// A model's full name, or the beginning of some.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    literal: String,
    open: bool,
}

/// A price and when it holds: from a moment on, before another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Period {
    from: Timestamp,
    until: Timestamp,
    price: Price,
}

impl ModelsFile {
    /// Reads the file's text. `name` is what the file is called where its prices are shown.
    ///
    /// # Errors
    /// Everything that is wrong, with its line: what is not TOML, an unknown key, a price that is
    /// negative, not a number of whole micro-USD or above 100,000 USD, a pattern that stands there
    /// twice, prices of one model that hold at the same time.
    pub fn parse(text: &str, name: &str) -> Result<Self, ModelsFileError> {
        if text.len() > BYTES_MAX {
            return Err(ModelsFileError(vec![format!("larger than {BYTES_MAX} bytes")]));
        }
        let mut entries = read::entries(text, name).map_err(ModelsFileError)?;
        entries.sort_by_key(|entry| {
            std::cmp::Reverse((!entry.pattern.open, entry.pattern.literal.len()))
        });
        Ok(Self { entries })
    }

    /// Whether nothing is said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many models and patterns it speaks of.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    fn about<'a>(&'a self, model: &ModelName) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let name = model.to_string();
        self.entries.iter().filter(move |entry| entry.pattern.fits(&name))
    }
}

impl ModelCatalog for ModelsFile {
    fn capabilities(&self, model: &ModelName) -> Capabilities {
        self.about(model).fold(Capabilities::default(), |known, entry| known.or(entry.capabilities))
    }

    fn price(&self, model: &ModelName, at: Timestamp) -> Option<Price> {
        self.about(model)
            .flat_map(|entry| &entry.prices)
            .find(|period| period.from <= at && at < period.until)
            .map(|period| period.price.clone())
    }
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.literal) } else { name == self.literal }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal)?;
        if self.open { f.write_str("*") } else { Ok(()) }
    }
}

impl Period {
    fn of(rates: Rates, tiers: Vec<(u64, Rates)>, name: &str) -> Self {
        let source = FactSource::Operator;
        let price = Price { rates, tiers, source, basis: name.to_owned() };
        Self { from: Timestamp::MIN, until: Timestamp::MAX, price }
    }
}

/// What is wrong with a file about models: all of it, each with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelsFileError(Vec<String>);

impl ModelsFileError {
    /// What is wrong, one by one.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for ModelsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ModelsFileError {}

#[cfg(test)]
mod tests;
