//! How long a service asks to wait: `retry-after-ms` (milliseconds) and `Retry-After` (RFC 9110,
//! 10.2.3: seconds or a date; many services send fractions of seconds).

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::header::HeaderMap;

/// The wait that the headers ask for; zero for a date in the past, `None` when they ask nothing
/// that can be read. The caller decides what is too long.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    text("retry-after-ms")
        .and_then(|value| seconds(value, 0.001))
        .or_else(|| text("retry-after").and_then(|value| seconds(value, 1.0)))
        .or_else(|| text("retry-after").and_then(|value| until(value, now)))
}

fn seconds(value: &str, unit: f64) -> Option<Duration> {
    let count: f64 = value.parse().ok().filter(|count: &f64| count.is_finite())?;
    Duration::try_from_secs_f64((count * unit).max(0.0)).ok()
}

fn until(date: &str, now: Timestamp) -> Option<Duration> {
    let date = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        retry_after(&headers, "2026-11-22T10:00:00Z".parse().unwrap())
    }

    #[test]
    fn every_form_of_the_wait_is_read() {
        let table = [
            ("retry-after", "7", Some(7_000)),
            ("retry-after", " 1.5 ", Some(1_500)),
            ("retry-after", "0", Some(0)),
            ("retry-after", "-3", Some(0)),
            ("retry-after", "Sun, 22 Nov 2026 10:01:00 GMT", Some(60_000)),
            ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "inf", None),
            ("retry-after", "NaN", None),
            ("retry-after", "1e300", None),
            ("retry-after-ms", "250", Some(250)),
        ];
        for (name, value, expected) in table {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(parse(&[(name, value)]), expected, "{name}: {value}");
        }
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn milliseconds_win_over_seconds_unless_they_are_unreadable() {
        let wait = parse(&[("retry-after", "9"), ("retry-after-ms", "20")]);
        assert_eq!(wait, Some(Duration::from_millis(20)));
        let wait = parse(&[("retry-after", "9"), ("retry-after-ms", "x")]);
        assert_eq!(wait, Some(Duration::from_secs(9)));
    }
}
