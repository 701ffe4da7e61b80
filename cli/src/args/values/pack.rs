//! Packs by name.

use strongroom_core::{id::PackId, repository::layout, target::ObjectKey};

/// `packs/<session>/<number>`, as `verify` names them; without `packs/`, too.
pub fn parse(text: &str) -> Result<PackId, String> {
    let name = if text.starts_with("packs/") { text.to_owned() } else { format!("packs/{text}") };
    let key = ObjectKey::parse(&name).ok();
    key.as_ref()
        .and_then(layout::pack_of)
        .ok_or_else(|| "expected a pack as packs/<32 hex digits>/<number>".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs() {
        let name = "packs/0b5d3a0c5bb1e0a7b1a2f5e0c6d7a8f9/3";
        let pack = parse(name).unwrap();
        assert_eq!(pack.counter, 3);
        assert_eq!(parse(&name[6..]), Ok(pack));
        for wrong in ["", "packs/", "packs/00/1", &format!("{name}x"), "meta/x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
