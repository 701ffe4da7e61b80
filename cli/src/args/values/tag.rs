//! Labels of snapshots.

use super::name;

/// Labels that belong together: given as one comma-separated list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSet(pub Vec<String>);

/// `tag` or `tag,tag,...`.
pub fn parse(text: &str) -> Result<TagSet, String> {
    let tag = |part: &str| {
        if part.trim() != part {
            return Err(format!("the tag {part:?} begins or ends with a blank"));
        }
        name::parse(part).map_err(|why| format!("the tag {part:?} cannot be used: {why}"))
    };
    text.split(',').map(tag).collect::<Result<_, _>>().map(TagSet)
}

/// As [`parse`]; nothing is no tags at all.
pub fn parse_or_none(text: &str) -> Result<TagSet, String> {
    if text.is_empty() { Ok(TagSet(Vec::new())) } else { parse(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags() {
        assert_eq!(parse("a"), Ok(TagSet(vec!["a".to_owned()])));
        assert_eq!(parse("a,b c"), Ok(TagSet(vec!["a".to_owned(), "b c".to_owned()])));
        assert_eq!(parse_or_none(""), Ok(TagSet(Vec::new())));
        assert_eq!(parse_or_none("a"), parse("a"));
        for wrong in ["", ",", "a,", "a, b", "a\tb"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
