//! Money as people write it.

/// Dearest price that is believed, in USD per million tokens. A hundred times what any model costs;
/// more is a price per token or a slip of the keyboard.
const USD_MAX: u64 = 100_000;
/// Decimal places of a micro-USD.
const PLACES: usize = 6;

/// A decimal number of USD as micro-USD, without a float in between.
pub(super) fn micro_usd(text: &str) -> Result<u64, String> {
    let text = text.replace('_', "");
    if text.starts_with('-') {
        return Err("is negative; a price is 0 or more".to_owned());
    }
    let (whole, fraction) = text.trim_start_matches('+').split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err("is not a decimal number such as 0.075".to_owned());
    }
    if fraction.len() > PLACES {
        return Err(format!("has more than {PLACES} decimal places"));
    }
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    if whole >= USD_MAX {
        return Err(format!(
            "is {USD_MAX} USD per million tokens or more; write the price of a million tokens in USD"
        ));
    }
    // At most six digits, so this cannot fail.
    let fraction: u64 = format!("{fraction:0<PLACES$}").parse().unwrap_or(0);
    Ok(whole * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usd_are_whole_micro_usd() {
        for (text, micro) in [
            ("0", 0),
            ("0.075", 75_000),
            ("2", 2_000_000),
            ("2.50", 2_500_000),
            ("+1.0", 1_000_000),
            ("0.003625", 3_625),
            ("0.000001", 1),
            ("0.1000000000", 100_000),
            ("1_000", 1_000_000_000),
            ("99999.999999", 99_999_999_999),
        ] {
            assert_eq!(micro_usd(text), Ok(micro), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "-1",
            "-0.5",
            "",
            ".5",
            "1e3",
            "nan",
            "inf",
            "0.0000001",
            "100000",
            "1.2.3",
            "99999999999999999999999999",
            "1,5",
            "٣",
        ] {
            assert!(micro_usd(text).is_err(), "{text}");
        }
    }
}
