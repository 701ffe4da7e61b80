//! Sizes in bytes.

/// A size: digits and an optional unit (B, K, KiB, M, MiB, G, GiB, T, TiB; powers of 1,024).
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || "expected a size as 4096, 64KiB or 16M".to_owned();
    let unit_at = text.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    count.checked_mul(1 << shift).ok_or_else(|| "it is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("64KiB", 65_536),
            ("1m", 1 << 20),
            ("2T", 2 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in
            ["", "K", "-1", "1.5M", "1 M", "1KB", "12x", "99999999999999999999", "99999999T"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
