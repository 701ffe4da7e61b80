//! On or off.

/// The switch that `text` names.
pub fn parse(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither on nor off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_words() {
        assert_eq!((parse("on"), parse("off")), (Ok(true), Ok(false)));
        assert!(parse("yes").is_err() && parse("").is_err());
    }
}
