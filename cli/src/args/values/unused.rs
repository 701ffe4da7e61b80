//! How much may stay in a repository that nobody needs.

use strongroom_core::prune::UnusedMax;

use super::{percent, size};

/// `5%`, `10GiB` or `unlimited`.
pub fn parse(text: &str) -> Result<UnusedMax, String> {
    if text == "unlimited" {
        return Ok(UnusedMax::Unlimited);
    }
    if text == "0" || text == "0%" {
        return Ok(UnusedMax::Bytes(0));
    }
    if text.ends_with('%') {
        return percent::parse(text).map(|share| UnusedMax::Percent(share.0));
    }
    let wrong = |_| "expected a share as 5%, a size as 10GiB, or `unlimited`".to_owned();
    size::parse(text).map(UnusedMax::Bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sizes_and_no_limit() {
        assert_eq!(parse("5%"), Ok(UnusedMax::Percent(5.0)));
        assert_eq!(parse("0%"), Ok(UnusedMax::Bytes(0)));
        assert_eq!(parse("10GiB"), Ok(UnusedMax::Bytes(10 << 30)));
        assert_eq!(parse("unlimited"), Ok(UnusedMax::Unlimited));
        for wrong in ["", "5x", "-5%", "101%", "all"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
