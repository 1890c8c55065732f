//! What a service still allows, from the head of its answer.
//!
//! Two families of headers: `x-ratelimit-*` of OpenAI and those that imitate it, whose reset is a
//! Go duration (`6m0s`), seconds, or a time; and `anthropic-ratelimit-*`, whose reset is a time.

use std::{cmp::Reverse, time::Duration};

use agent_runner_core::llm::{RateLimits, RateWindow};
use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// Above this a number is no wait in seconds but seconds since 1970.
const EPOCH_SECONDS_MIN: f64 = 1e9;
/// Above this it is milliseconds since 1970.
const EPOCH_MILLIS_MIN: f64 = 1e11;

/// The limits that the headers tell, `None` when they tell none. Of several limits for the same
/// thing the tightest counts.
pub(crate) fn rate_limits(headers: &HeaderMap, now: Timestamp) -> Option<RateLimits> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let count = |name: &str| whole(text(name)?);
    let window = |name: &dyn Fn(&str) -> String| {
        Some(RateWindow {
            limit: count(&name("limit")),
            remaining: count(&name("remaining"))?,
            resets_in: text(&name("reset")).and_then(|reset| resets_in(reset, now)),
        })
    };
    let openai = |of: &str| window(&|what| format!("x-ratelimit-{what}{of}"));
    let anthropic = |of: &str| window(&|what| format!("anthropic-ratelimit-{of}-{what}"));
    let tightest = |windows: [Option<RateWindow>; 4]| {
        windows.into_iter().flatten().min_by_key(|it| (it.remaining, Reverse(it.resets_in)))
    };
    let requests = [openai("-requests"), openai(""), anthropic("requests"), None];
    let tokens = [
        openai("-tokens"),
        anthropic("tokens"),
        anthropic("input-tokens"),
        anthropic("output-tokens"),
    ];
    let limits = RateLimits { requests: tightest(requests), tokens: tightest(tokens) };
    (limits != RateLimits::default()).then_some(limits)
}

/// A count, which some write as a fraction and some let fall below zero.
fn whole(text: &str) -> Option<u64> {
    if let Ok(count) = text.parse() {
        return Some(count);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    // Whole seconds are the one lossless way from a float to an integer that cannot panic.
    Some(Duration::try_from_secs_f64(number.max(0.0)).ok()?.as_secs())
}

fn resets_in(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return wait(number, now);
    }
    go_duration(text).or_else(|| Some(until(text.parse().ok()?, now)))
}

fn wait(number: f64, now: Timestamp) -> Option<Duration> {
    let epoch = |millis: f64| {
        let since = Duration::try_from_secs_f64(millis / 1e3).ok()?;
        let at = Timestamp::UNIX_EPOCH.checked_add(since).ok()?;
        Some(until(at, now))
    };
    match number {
        number if number >= EPOCH_MILLIS_MIN => epoch(number),
        number if number >= EPOCH_SECONDS_MIN => epoch(number * 1e3),
        number if number.is_nan() => None,
        number => Duration::try_from_secs_f64(number.max(0.0)).ok(),
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A duration as Go writes it: `1h2m3.5s`, `60ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn parse(pairs: &[(&'static str, &str)]) -> Option<RateLimits> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        rate_limits(&headers, now())
    }

    fn window(limit: Option<u64>, remaining: u64, millis: Option<u64>) -> Option<RateWindow> {
        Some(RateWindow { limit, remaining, resets_in: millis.map(Duration::from_millis) })
    }

    #[test]
    fn every_form_of_a_reset_is_read() {
        let table = [
            ("6m0s", Some(360_000)),
            ("60ms", Some(60)),
            ("1h2m3.5s", Some(3_723_500)),
            ("0", Some(0)),
            ("7.66s", Some(7_660)),
            ("12", Some(12_000)),
            ("2.5", Some(2_500)),
            ("-3", Some(0)),
            ("1795341660", Some(60_000)),
            ("1795341660000", Some(60_000)),
            ("1795341600", Some(0)),
            ("2026-11-22T10:01:00Z", Some(60_000)),
            ("2026-11-22T11:01:00+01:00", Some(60_000)),
            ("2026-11-22T09:00:00Z", Some(0)),
            ("soon", None),
            ("", None),
            ("5", Some(5_000)),
            ("5x", None),
            ("s", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
        ];
        for (text, millis) in table {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(resets_in(text, now()), expected, "{text}");
        }
    }

    #[test]
    fn the_limits_of_openai_groq_and_openrouter_are_read() {
        assert_eq!(
            parse(&[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-limit-tokens", "150000"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ]),
            Some(RateLimits {
                requests: window(Some(60), 59, Some(1_000)),
                tokens: window(Some(150_000), 149_984, Some(360_000)),
            })
        );
        assert_eq!(
            parse(&[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset", "1795341660000")]),
            Some(RateLimits { requests: window(None, 4, Some(60_000)), tokens: None })
        );
    }

    #[test]
    fn the_tightest_of_anthropics_token_limits_counts() {
        let at = "2026-11-22T10:01:00Z";
        assert_eq!(
            parse(&[
                ("anthropic-ratelimit-requests-remaining", "3"),
                ("anthropic-ratelimit-tokens-remaining", "90000"),
                ("anthropic-ratelimit-input-tokens-remaining", "80000"),
                ("anthropic-ratelimit-output-tokens-limit", "16000"),
                ("anthropic-ratelimit-output-tokens-remaining", "8000"),
                ("anthropic-ratelimit-output-tokens-reset", at),
            ]),
            Some(RateLimits {
                requests: window(None, 3, None),
                tokens: window(Some(16_000), 8_000, Some(60_000)),
            })
        );
    }

    #[test]
    fn what_is_missing_or_unreadable_is_no_limit() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[("x-ratelimit-limit-requests", "60")]), None);
        assert_eq!(parse(&[("x-ratelimit-remaining-tokens", "many")]), None);
        assert_eq!(
            parse(&[("x-ratelimit-remaining-tokens", "-5")]),
            Some(RateLimits { requests: None, tokens: window(None, 0, None) })
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_limit_panic(text in "[0-9hmsun.+eT:Z-]{0,24}|\\PC{0,12}") {
            let _: (Option<Duration>, Option<u64>) = (resets_in(&text, now()), whole(&text));
        }
    }
}
