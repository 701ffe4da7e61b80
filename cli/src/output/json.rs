//! JSON that is safe to look at: control characters that JSON itself lets through are escaped.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Writes `value` without blanks or newlines.
pub fn write(out: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Safe(CompactFormatter)))?;
    Ok(())
}

/// JSON must escape what is below U+0020; terminals also act on U+007F to U+009F.
struct Safe(CompactFormatter);

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(char::is_control) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_string_fragment(writer, plain)?;
            let mut symbols = tail.chars();
            if let Some(symbol) = symbols.next() {
                write!(writer, "\\u{:04x}", u32::from(symbol))?;
            }
            rest = symbols.as_str();
        }
        self.0.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_control_characters_are_escaped_and_come_back() {
        let text = "a\x1b\n\u{7f}b\u{9b}é\"\\";
        let mut json = Vec::new();
        write(&mut json, &[text]).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert!(!json.contains(char::is_control), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap()[0], text);
    }
}
