//! Shares.

/// A share in percent: more than 0, at most 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

/// `5%`, `2.5%` or `5`.
pub fn parse(text: &str) -> Result<Percent, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match digits.parse::<f64>() {
        Ok(share) if is_plain && share > 0.0 && share <= 100.0 => Ok(Percent(share)),
        _ => Err("expected a percentage above 0 and up to 100, as 5%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(parse("5%"), Ok(Percent(5.0)));
        assert_eq!(parse("0.5"), Ok(Percent(0.5)));
        assert_eq!(parse("100%"), Ok(Percent(100.0)));
        for wrong in ["", "%", "0", "0%", "100.1%", "-5%", "5%%", "1e1", "inf", "NaN", "half"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
