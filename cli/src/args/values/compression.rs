//! Compression levels.

use strongroom_core::compress::Compression;

/// `off`, `fast`, or a level from 1 to 19.
pub fn parse(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|_| "expected off, fast, or a level from 1 to 19".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(parse("off"), Ok(Compression::OFF));
        assert_eq!(parse("19").unwrap().to_string(), "19");
        for wrong in ["", "0", "20", "-1", "max", "3 "] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
