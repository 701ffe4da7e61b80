//! `docs/cli.md` is what the program says about itself. `STRONGROOM_UPDATE_DOCS=1` writes it anew.

use std::{fs, path::Path};

use crate::{output_of, verbs};

const HEAD: &str = "\
# Command line reference

What `strongroom --help` and `strongroom VERB --help` print. A test compares this file with the
program; `STRONGROOM_UPDATE_DOCS=1 cargo test -p strongroom` writes it anew. The flags under
\"Repository\" and \"Output\" belong to every verb and are listed once.
";

#[test]
fn the_reference_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let current = reference();
    if std::env::var_os("STRONGROOM_UPDATE_DOCS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let differing = stored.lines().zip(current.lines()).find(|(stored, current)| stored != current);
    assert!(
        stored == current,
        "docs/cli.md is out of date, first at {differing:?}; set STRONGROOM_UPDATE_DOCS=1"
    );
}

#[test]
fn every_verb_shows_how_it_is_used() {
    for verb in verbs() {
        let help = output_of(&[&verb, "--help"]);
        assert!(help.contains(&format!("Examples:\n  strongroom {verb}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

/// Help of a verb without the flags that all verbs take.
fn own_help(verb: &str) -> String {
    let help = output_of(&[verb, "--help"]);
    let (own, rest) = help.split_once("\nRepository:\n").unwrap();
    let (_, examples) = rest.split_once("\nExamples:\n").unwrap();
    format!("{own}\nExamples:\n{examples}")
}

fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut section = |title: &str, help: &str| {
        let help: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
        text.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", help.join("\n")));
    };
    section("strongroom", &output_of(&["--help"]));
    for verb in verbs() {
        section(&format!("strongroom {verb}"), &own_help(&verb));
    }
    text
}
