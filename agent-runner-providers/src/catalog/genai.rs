//! The bundled list: the crate `genai-prices`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use agent_runner_core::{
    agent::ModelName,
    llm::{Capabilities, FactSource, ModelCatalog, Price, Rates},
};
use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};
use jiff::Timestamp;

/// The list's name and version; a test holds it against the lock file.
const BASIS: &str = "genai-prices 0.2.1";
/// Prompts as long as this have the last tier's price. Longer than any model reads.
const PROMPT_MAX: u64 = 1 << 25;
/// Most tiers of a price. The list has two at most; bounds the search.
const TIERS_MAX: usize = 8;
/// Prices remembered. The largest service lists fewer models; bounds the memory.
const KNOWN_MAX: usize = 2048;
/// Seconds for which a price holds: the hours at which prices change are full quarters.
const QUARTER: i64 = 15 * 60;
/// Dearest price believed, in micro-USD per million tokens: 100,000 USD.
const RATE_MAX: f64 = 1e11;

/// Prices of services and the context windows of their models, from the crate `genai-prices`.
///
/// A provider has the prices of a list only when it was told so, because an id says nothing about
/// who sends the bill: `openai` may be a server on this machine.
#[derive(Default)]
pub struct GenaiPrices {
    lists: BTreeMap<String, String>,
    known: Mutex<Known>,
}

/// Answers that are remembered: the engine asks before each call of a model.
#[derive(Default)]
struct Known {
    prices: HashMap<ModelName, (i64, Option<Price>)>,
    windows: HashMap<ModelName, Option<u64>>,
}

impl fmt::Debug for GenaiPrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenaiPrices").field("lists", &self.lists).finish_non_exhaustive()
    }
}

impl GenaiPrices {
    /// A catalog that knows no provider yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the prices of that list for the models of that provider. An unknown list has none.
    #[must_use]
    pub fn with(mut self, provider: impl Into<String>, list: impl Into<String>) -> Self {
        self.lists.insert(provider.into(), list.into());
        self
    }

    /// With the prices of the service at that address, if there is a list of it. A server that no
    /// list speaks of, such as one on this machine, has none.
    #[must_use]
    pub fn with_address(mut self, provider: impl Into<String>, base_url: &str) -> Self {
        // Reading the list takes tens of milliseconds, which a program without a service saves.
        if has_domain(base_url)
            && let Ok(Some(list)) = Calculator::bundled().find_provider(None, Some(base_url))
        {
            self.lists.insert(provider.into(), list.id().to_owned());
        }
        self
    }

    /// The ids of all lists.
    pub fn lists() -> impl Iterator<Item = &'static str> {
        Calculator::bundled().providers().map(genai_prices::ProviderInfo::id)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list and the id under which a model is looked up.
    fn entry<'a>(&'a self, model: &'a ModelName) -> Option<Entry<'a>> {
        let list = self.lists.get(model.provider())?;
        let model = model.model();
        Some(Entry { list, model: model.strip_prefix("models/").unwrap_or(model) })
    }
}

/// Whether an address names its host by a domain, as every service that has a list does; not an IP
/// address and not a name of the own network.
fn has_domain(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    host.contains('.') && host.parse::<IpAddr>().is_err()
}

impl ModelCatalog for GenaiPrices {
    fn capabilities(&self, model: &ModelName) -> Capabilities {
        let Some(entry) = self.entry(model) else { return Capabilities::default() };
        let known = self.known().windows.get(model).copied();
        let context_window = known.unwrap_or_else(|| {
            let window = entry.context_window();
            let mut known = self.known();
            if known.windows.len() >= KNOWN_MAX {
                known.windows.clear();
            }
            known.windows.insert(model.clone(), window);
            window
        });
        Capabilities { context_window, ..Capabilities::default() }
    }

    fn price(&self, model: &ModelName, at: Timestamp) -> Option<Price> {
        let entry = self.entry(model)?;
        let quarter = at.as_second().div_euclid(QUARTER);
        if let Some((when, price)) = self.known().prices.get(model)
            && *when == quarter
        {
            return price.clone();
        }
        let price = entry.price(at);
        let mut known = self.known();
        if known.prices.len() >= KNOWN_MAX {
            known.prices.clear();
        }
        known.prices.insert(model.clone(), (quarter, price.clone()));
        price
    }
}

/// A model in a list. The list answers what a call costs, so rates are found by asking for the
/// cost of calls that differ in one thing.
#[derive(Clone, Copy)]
struct Entry<'a> {
    list: &'a str,
    model: &'a str,
}

impl Entry<'_> {
    fn cost(self, usage: &Usage, at: Timestamp) -> Option<genai_prices::PriceCalculation> {
        // Times before 1970 have the prices of 1970.
        let since = Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
        let request = PriceRequest::new(self.model, usage)
            .with_provider_id(self.list)
            .with_timestamp(UNIX_EPOCH + since);
        Calculator::bundled().calculate(&request).ok()
    }

    fn context_window(self) -> Option<u64> {
        let id = self.cost(&Usage::new(), Timestamp::UNIX_EPOCH)?.model_id;
        let list = Calculator::bundled().find_provider(Some(self.list), None).ok().flatten()?;
        let model = list.models().find(|model| model.id() == id)?;
        model.context_window()
    }

    /// The price at that moment. `None` when the list does not say what both sides cost, or when
    /// more is charged than tokens: too low a price would be worse than none.
    fn price(self, at: Timestamp) -> Option<Price> {
        let (first, last) = (self.sides(1, at)?, self.sides(PROMPT_MAX, at)?);
        let rates = self.rates(1, first, at)?;
        let mut tiers = Vec::new();
        let (mut sides, mut from) = (first, 1);
        while sides != last && tiers.len() < TIERS_MAX {
            let above = self.last_with(sides, from, at)?;
            from = above + 1;
            sides = self.sides(from, at)?;
            tiers.push((above, self.rates(from, sides, at)?));
        }
        Some(Price { rates, tiers, source: FactSource::Catalog, basis: BASIS.to_owned() })
    }

    /// What input and output cost in a call with a prompt of that many tokens.
    fn sides(self, prompt: u64, at: Timestamp) -> Option<(u64, u64)> {
        let tokens = float(prompt);
        let usage = Usage::from([
            (UsageKey::INPUT_TOKENS, tokens),
            (UsageKey::OUTPUT_TOKENS, 1.0),
            (UsageKey::OUTPUT_REASONING_TOKENS, 0.0),
        ]);
        let cost = self.cost(&usage, at)?;
        let input = rate(cost.input_price, tokens)?;
        let output = rate(cost.output_price, 1.0)?;
        // A fee for the request, or a side that the list leaves out and counts as 0.
        let more = rate(cost.total_price - cost.input_price - cost.output_price, 1.0)?;
        (input > 0 && output > 0 && more == 0).then_some((input, output))
    }

    fn rates(self, prompt: u64, sides: (u64, u64), at: Timestamp) -> Option<Rates> {
        let (input, output) = sides;
        const INPUT: &[UsageKey] = &[UsageKey::INPUT_TOKENS];
        let tokens = float(prompt);
        let whole = |keys: &[UsageKey]| {
            let all = keys.iter().chain(INPUT).map(|key| (key.clone(), tokens));
            rate(self.cost(&all.collect(), at)?.input_price, tokens)
        };
        let thought = Usage::from([
            (UsageKey::INPUT_TOKENS, tokens),
            (UsageKey::OUTPUT_TOKENS, 1.0),
            (UsageKey::OUTPUT_REASONING_TOKENS, 1.0),
        ]);
        // Reasoning with a price of its own has no place in `Rates`.
        if rate(self.cost(&thought, at)?.output_price, 1.0)? != output {
            return None;
        }
        let read = whole(&[UsageKey::CACHE_READ_TOKENS])?;
        let write = whole(&[UsageKey::CACHE_WRITE_TOKENS])?;
        let hour = whole(&[UsageKey::CACHE_WRITE_TOKENS, UsageKey::CACHE_WRITE_1H_TOKENS])?;
        Some(Rates {
            input,
            output,
            cache_read: (read != input).then_some(read),
            cache_write: (write != input).then_some(write),
            cache_write_1h: (hour != write).then_some(hour),
        })
    }

    /// The longest prompt from `from` on that still costs `sides`, which another length does not.
    fn last_with(self, sides: (u64, u64), from: u64, at: Timestamp) -> Option<u64> {
        let (mut same, mut other) = (from, PROMPT_MAX);
        while other - same > 1 {
            let middle = same.midpoint(other);
            if self.sides(middle, at)? == sides {
                same = middle;
            } else {
                other = middle;
            }
        }
        Some(same)
    }
}

/// Tokens as the list counts them.
#[expect(clippy::cast_precision_loss, reason = "no prompt has more than 2^25 tokens")]
const fn float(tokens: u64) -> f64 {
    tokens as f64
}

/// The cost of so many tokens in USD as whole micro-USD per million of them. The list computes
/// with floats; rounding gives the decimal number back that it has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number between 0 and RATE_MAX"
)]
fn rate(usd: f64, tokens: f64) -> Option<u64> {
    let micro = (usd / tokens * 1e12).round();
    (0.0..=RATE_MAX).contains(&micro).then_some(micro as u64)
}

#[cfg(test)]
mod tests;
