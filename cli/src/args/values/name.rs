//! Host names and other short labels.

const BYTES_MAX: usize = 255;

/// A name that can be stored, printed and compared: 1 to 255 bytes without control characters.
pub fn parse(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("it holds control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse("web-1.example.org").unwrap(), "web-1.example.org");
        for wrong in ["", " ", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
