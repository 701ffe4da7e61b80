//! Lengths of time.

use std::time::Duration;

/// Longer is not "a while" any more, and the kernel's counter has an end.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

/// A length of time: digits and an optional unit (s, m, h, d; seconds without one).
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a length of time as 90s, 15m or 8h".to_owned();
    let unit_at = text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    match count.checked_mul(factor) {
        Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err("it is not between a second and 7 days".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, seconds) in
            [("1", 1), ("90s", 90), ("15m", 900), ("8h", 28_800), ("7d", 604_800)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "0", "m", "-1", "1.5h", "1 h", "8d", "99999999999999999999", "1w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
