//! What holds for every file: a head that says what it is, a length that can be read, no marks
//! of unfinished work, no traces of one machine.

use super::{assert_none, text_files};

const LINES_MAX: usize = 1_000;
const LINES_SOFT_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;

/// Tables of data, which may be long.
const TABLES: &[&str] = &["Cargo.lock"];

#[test]
fn every_rust_file_begins_with_what_it_is() {
    let findings: Vec<_> = text_files()
        .iter()
        .filter(|file| file.is_rust() && !file.text.starts_with("//! "))
        .map(|file| file.path.clone())
        .collect();
    assert_none("a Rust file begins with `//!`: what it is and what it must not know", &findings);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut findings = Vec::new();
    for file in text_files().iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines", file.path));
        } else if lines > LINES_SOFT_MAX {
            println!("warning: {}: {lines} lines, more than {LINES_SOFT_MAX}", file.path);
        }
    }
    assert_none(&format!("a file has at most {LINES_MAX} lines"), &findings);
}

#[test]
fn lines_fit_the_page() {
    let mut findings = Vec::new();
    for file in text_files().iter().filter(|file| file.is_rust()) {
        for (number, line) in file.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                findings.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    assert_none(&format!("a line has at most {COLUMNS_MAX} columns"), &findings);
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // In two halves, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        // With a reason it may stay: what other tests run, or what takes minutes.
        concat!("#[ign", "ore]"),
    ];
    let mut findings = Vec::new();
    for file in text_files().iter().filter(|file| !TABLES.contains(&&*file.path)) {
        for (number, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                findings.push(format!("{}:{}: {mark}", file.path, number + 1));
            }
        }
    }
    assert_none("finish it, or say what is missing in docs/ or an issue", &findings);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let trace = concat!("/wo", "rk/");
    let mut findings = Vec::new();
    for file in text_files() {
        for (number, line) in file.text.lines().enumerate() {
            let is_absolute = line.match_indices(trace).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_-.}".contains(c))
            });
            if is_absolute {
                findings.push(format!("{}:{}: {trace}", file.path, number + 1));
            }
        }
    }
    assert_none("paths of one machine do not belong in the project", &findings);
}
