//! The file's TOML as entries.

use agent_runner_core::{
    agent::ModelName,
    llm::{Capabilities, Rates},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use toml::de::{DeTable, DeValue};

use super::{
    Entry, Pattern, Period,
    amount::micro_usd,
    table::{Problems, Table},
};

/// Most tokens that a number of them may be.
const TOKENS_MAX: u64 = 1 << 40;

const MODEL: [&str; 9] = [
    "model",
    "tools",
    "json_schema",
    "schema_with_tools",
    "vision",
    "reasoning",
    "context_window",
    "max_output",
    "prices",
];
const PRICE: [&str; 8] = [
    "effective_from",
    "effective_until",
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "tiers",
];
const TIER: [&str; 6] = ["above", "input", "output", "cache_read", "cache_write", "cache_write_1h"];

/// Every entry, or everything that is wrong.
pub(super) fn entries(text: &str, name: &str) -> Result<Vec<Entry>, Vec<String>> {
    let mut problems = Problems::of(text);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            problems.add(&error.span().unwrap_or(0..0), error.message());
            return problems.into_result(Vec::new());
        }
    };
    let root = Table::of(document.get_ref(), document.span(), &["models"], &mut problems);
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for table in root.list("models", &MODEL, &mut problems) {
        let Some(entry) = entry(&table, name, &mut problems) else { continue };
        let line = problems.line(&table.at);
        if let Some((first, _)) = entries.iter().find(|(_, it)| it.pattern == entry.pattern) {
            let pattern = &entry.pattern;
            problems.add(&table.at, format!("`{pattern}` stands in line {first} already"));
        }
        entries.push((line, entry));
    }
    problems.into_result(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn entry(table: &Table<'_, '_>, name: &str, problems: &mut Problems<'_>) -> Option<Entry> {
    let pattern = table.need("model", problems, pattern);
    let mut can = |key| table.read(key, problems, switch);
    let mut capabilities = Capabilities {
        tools: can("tools"),
        json_schema: can("json_schema"),
        schema_with_tools: can("schema_with_tools"),
        vision: can("vision"),
        reasoning: can("reasoning"),
        ..Capabilities::default()
    };
    capabilities.context_window = table.read("context_window", problems, tokens);
    capabilities.max_output = table.read("max_output", problems, tokens);
    let mut prices: Vec<Period> = Vec::new();
    for price in table.list("prices", &PRICE, problems) {
        let Some(period) = period(&price, name, problems) else { continue };
        if prices.iter().any(|other| period.from < other.until && other.from < period.until) {
            problems.add(&price.at, "this price holds at the same time as one before it");
        }
        prices.push(period);
    }
    Some(Entry { pattern: pattern?, capabilities, prices })
}

fn period(table: &Table<'_, '_>, name: &str, problems: &mut Problems<'_>) -> Option<Period> {
    let rates = rates(table, problems);
    let mut tiers: Vec<(u64, Rates)> = Vec::new();
    for tier in table.list("tiers", &TIER, problems) {
        let above = tier.need("above", problems, tokens);
        let (Some(above), Some(rates)) = (above, self::rates(&tier, problems)) else { continue };
        if tiers.last().is_some_and(|(last, _)| *last >= above) {
            problems.add(&tier.at, "`above` is not larger than in the tier before");
        }
        tiers.push((above, rates));
    }
    let from = table.read("effective_from", problems, moment);
    let until = table.read("effective_until", problems, moment);
    let mut period = Period::of(rates?, tiers, name);
    period.from = from.unwrap_or(period.from);
    period.until = until.unwrap_or(period.until);
    if period.from >= period.until {
        problems.add(&table.at, "`effective_from` is not before `effective_until`");
    }
    Some(period)
}

fn rates(table: &Table<'_, '_>, problems: &mut Problems<'_>) -> Option<Rates> {
    let input = table.need("input", problems, price);
    let output = table.need("output", problems, price);
    let cache_read = table.read("cache_read", problems, price);
    let cache_write = table.read("cache_write", problems, price);
    let cache_write_1h = table.read("cache_write_1h", problems, price);
    Some(Rates { input: input?, output: output?, cache_read, cache_write, cache_write_1h })
}

fn pattern(value: &DeValue<'_>) -> Result<Pattern, String> {
    let text = value.as_str().ok_or("is not a string")?;
    let open = text.ends_with('*');
    let literal = text.strip_suffix('*').unwrap_or(text).to_owned();
    // An open pattern names the provider at least: `*` alone would speak of every server.
    let named = match literal.split_once('/') {
        Some((provider, rest)) => !provider.is_empty() && (open || !rest.is_empty()),
        None => false,
    };
    let whole = open || literal.parse::<ModelName>().is_ok();
    if !named || !whole || literal.contains('*') {
        return Err("is not provider/model, provider/* or provider/beginning*".to_owned());
    }
    Ok(Pattern { literal, open })
}

fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "is not true or false".to_owned())
}

fn tokens(value: &DeValue<'_>) -> Result<u64, String> {
    let number =
        value.as_integer().and_then(|it| u64::from_str_radix(it.as_str(), it.radix()).ok());
    number
        .filter(|number| (1..=TOKENS_MAX).contains(number))
        .ok_or_else(|| "is not a number of tokens".to_owned())
}

fn price(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => micro_usd(number.as_str()),
        DeValue::Float(number) => micro_usd(number.as_str()),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => Err("is not a decimal number such as 0.075".to_owned()),
    }
}

/// A day, which begins at midnight UTC, or a moment with its offset.
fn moment(value: &DeValue<'_>) -> Result<Timestamp, String> {
    let text = value.as_datetime().map(ToString::to_string);
    let text = text.as_deref().or(value.as_str()).unwrap_or_default();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day: Option<Date> = if text.len() == 10 { text.parse().ok() } else { None };
    let start = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    start.map(|start| start.timestamp()).ok_or_else(|| {
        "is not a day such as 2027-01-01 or a moment such as 2027-01-01T08:00:00Z".to_owned()
    })
}
