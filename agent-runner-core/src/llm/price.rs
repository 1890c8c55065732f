//! What model calls cost.

use serde::{Deserialize, Serialize};

use super::{FactSource, Usage};

/// Tokens that a price counts for.
const PER: u128 = 1_000_000;

/// Money in millionths of a US dollar.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// The sum, at most the largest amount there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// What something cost, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// How much, rounded up.
    pub micro_usd: MicroUsd,
    /// Who knows the price.
    pub source: FactSource,
    /// Which list it is from, such as `genai-prices 0.2.1`.
    pub basis: String,
}

/// Prices of a model in micro-USD per million tokens (1 USD per million tokens is 1,000,000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Prompt tokens that no cache had.
    pub input: u64,
    /// Tokens that the model wrote.
    pub output: u64,
    /// Prompt tokens from the cache; as `input` when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Prompt tokens written to the cache; as `input` when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Prompt tokens written to the cache for an hour; as `cache_write` when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<u64>,
}

/// The price of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Of calls with a prompt up to the first tier.
    pub rates: Rates,
    /// Other rates for the whole call when its prompt has more than that many tokens, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<(u64, Rates)>,
    /// Who says so.
    pub source: FactSource,
    /// Which list it is from.
    pub basis: String,
}

impl Price {
    /// What a call cost that used this. `None` when its tokens are not known.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<Cost> {
        let (input, output) = (usage.prompt()?, usage.output?);
        let rates = self.rates_for(input);
        let count = |tokens: Option<u64>| u128::from(tokens.unwrap_or(0));
        let write_1h = count(usage.cache_write_1h).min(count(usage.cache_write));
        let write_rate = rates.cache_write.unwrap_or(rates.input);
        let sum = count(usage.input) * u128::from(rates.input)
            + u128::from(output) * u128::from(rates.output)
            + count(usage.cache_read) * u128::from(rates.cache_read.unwrap_or(rates.input))
            + (count(usage.cache_write) - write_1h) * u128::from(write_rate)
            + write_1h * u128::from(rates.cache_write_1h.unwrap_or(write_rate));
        let micro_usd = MicroUsd(u64::try_from(sum.div_ceil(PER)).unwrap_or(u64::MAX));
        Some(Cost { micro_usd, source: self.source, basis: self.basis.clone() })
    }

    /// The rates of a call with a prompt of that many tokens.
    #[must_use]
    pub fn rates_for(&self, prompt: u64) -> Rates {
        let tier = self.tiers.iter().rfind(|(above, _)| prompt > *above);
        tier.map_or(self.rates, |(_, rates)| *rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price() -> Price {
        let rates = Rates {
            input: 4_000_000,
            output: 20_000_000,
            cache_read: Some(200_000),
            cache_write: Some(5_000_000),
            cache_write_1h: Some(8_000_000),
        };
        let dear = Rates { input: 8_000_000, ..rates };
        Price {
            rates,
            tiers: vec![(100_000, dear)],
            source: FactSource::Catalog,
            basis: "a list".into(),
        }
    }

    fn cost(usage: Usage) -> Option<u64> {
        price().cost(&usage).map(|cost| cost.micro_usd.0)
    }

    #[test]
    fn every_kind_of_token_has_its_rate() {
        let usage = Usage {
            input: Some(1_000),
            output: Some(100),
            cache_read: Some(10_000),
            cache_write: Some(300),
            cache_write_1h: Some(100),
            reasoning: Some(50),
        };
        assert_eq!(cost(usage), Some(4_000 + 2_000 + 2_000 + 1_000 + 800));
    }

    #[test]
    fn a_long_prompt_has_other_rates_and_a_fraction_is_rounded_up() {
        let at = |input| Usage { input: Some(input), output: Some(0), ..Usage::default() };
        assert_eq!(cost(at(100_000)), Some(400_000));
        assert_eq!(cost(at(100_001)), Some(800_008));
        let one = Usage { output: Some(0), cache_read: Some(1), ..Usage::default() };
        assert_eq!(cost(one), Some(1));
    }

    #[test]
    fn what_is_not_known_has_no_cost() {
        assert_eq!(cost(Usage::default()), None);
        assert_eq!(cost(Usage { input: Some(1), ..Usage::default() }), None);
    }

    #[test]
    fn nothing_overflows() {
        let most = Usage { input: Some(u64::MAX), output: Some(u64::MAX), ..Usage::default() };
        assert_eq!(cost(most), Some(u64::MAX));
    }
}
