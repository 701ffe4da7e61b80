//! The text form of recovery keys: easy to type, hard to mistype unnoticed.

use proptest::prelude::*;

use super::*;

fn key(byte: u8) -> RecoveryKey {
    RecoveryKey::from_bytes(std::array::from_fn(|index| byte.wrapping_mul(31) ^ index as u8))
}

fn refusal(text: &str) -> String {
    let error = text.parse::<RecoveryKey>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn the_text_form_is_thirteen_groups_of_five() {
    let text = key(1).to_text();
    let groups: Vec<&str> = text.split('-').collect();
    assert_eq!(groups.len(), 13);
    assert!(groups.iter().all(|group| group.len() == 5));
    // Fixed by the format document: this key of zeros must never print differently.
    let zeros = RecoveryKey::from_bytes([0; 32]).to_text();
    assert_eq!(
        *zeros,
        "00001-00002-00003-00004-00005-00006-00007-00008-00009-0000A-0000B-0000C-00025"
    );
}

#[test]
fn case_blanks_dashes_and_look_alikes_do_not_matter() {
    let zeros = RecoveryKey::from_bytes([0; 32]);
    let typed = zeros.to_text().replace('-', " ").to_lowercase().replace('0', "o");
    assert_eq!(format!("  {typed}\n").parse::<RecoveryKey>().unwrap(), zeros);
    assert_eq!(typed.replace('1', "l").parse::<RecoveryKey>().unwrap(), zeros);
    assert_eq!(typed.replace('1', "I").replace(' ', "").parse::<RecoveryKey>().unwrap(), zeros);
}

#[test]
fn refusals_say_where_and_never_what() {
    let text = key(3).to_text();
    assert!(refusal("").ends_with("it has 0 of 65 symbols"));
    assert!(refusal(&text[..text.len() - 1]).ends_with("it has 64 of 65 symbols"));
    assert!(refusal(&format!("{}7", *text)).ends_with("longer than 65 symbols"));
    assert!(
        refusal(&text.replacen('-', "-!", 1)).ends_with("symbol 6 is none of a recovery key's")
    );
    assert!(refusal("ü").ends_with("symbol 1 is none of a recovery key's"));
    let message = refusal(&format!("{}{}", &text[6..], &text[..6]));
    assert!(message.ends_with("group 1 of 13 is mistyped"), "{message}");
    assert!(text.split('-').all(|group| !message.contains(group)), "{message}");
}

#[test]
fn every_mistyped_symbol_and_every_swap_names_its_group() {
    let text: Vec<char> = key(5).to_text().chars().filter(|symbol| *symbol != '-').collect();
    let refused_in = |changed: &[char], position: usize| {
        let message = refusal(&changed.iter().collect::<String>());
        let expected = format!("group {} of 13 is mistyped", position / GROUP_SYMBOLS + 1);
        assert!(message.ends_with(&expected), "{message}, not {expected}");
    };
    for position in 0..TEXT_SYMBOLS {
        for symbol in SYMBOLS.iter().map(|symbol| char::from(*symbol)) {
            let mut changed = text.clone();
            changed[position] = symbol;
            if changed != text {
                refused_in(&changed, position);
            }
        }
        let is_group_end = position % GROUP_SYMBOLS == GROUP_SYMBOLS - 1;
        if !is_group_end && text[position] != text[position + 1] {
            let mut changed = text.clone();
            changed.swap(position, position + 1);
            refused_in(&changed, position);
        }
    }
}

#[test]
fn swapped_groups_are_noticed() {
    let text = key(7).to_text();
    let groups: Vec<&str> = text.split('-').collect();
    for left in 0..GROUPS {
        for right in left + 1..GROUPS {
            let mut changed = groups.clone();
            changed.swap(left, right);
            assert!(refusal(&changed.join("-")).contains("mistyped"));
        }
    }
}

#[test]
fn multiplication_is_that_of_a_field() {
    for value in 1..32 {
        let products: std::collections::BTreeSet<u8> =
            (0..32).map(|other| multiply(value, other)).collect();
        assert_eq!(products.len(), 32, "{value} has an inverse");
        assert_eq!(multiply(value, 1), value);
        assert_eq!(multiply(1, value), value);
        assert!((0..32).all(|other| multiply(value, other) == multiply(other, value)));
    }
}

proptest! {
    #[test]
    fn every_key_comes_back(bytes: [u8; 32]) {
        let key = RecoveryKey::from_bytes(bytes);
        prop_assert_eq!(key.to_text().parse::<RecoveryKey>().unwrap(), key);
    }

    #[test]
    fn any_text_is_a_key_or_refused(text in "\\PC{0,100}") {
        let _ = text.parse::<RecoveryKey>();
    }
}
