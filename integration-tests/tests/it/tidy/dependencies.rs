//! What we build from, checked offline against `deny.toml`: licences, banned crates, sources,
//! doubled versions. `cargo deny` reads the same file.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;

use super::{assert_none, project_root};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_crate_comes_from_crates_io() {
    let findings: Vec<_> = locked_crates()
        .into_iter()
        .filter(|locked| locked.source.as_deref().is_some_and(|source| source != CRATES_IO))
        .map(|locked| format!("{} {}: {:?}", locked.name, locked.version, locked.source))
        .collect();
    assert_none("crates come from crates.io and from nowhere else", &findings);
}

#[test]
fn banned_crates_are_not_there() {
    let tolerated = tolerated_crates();
    let mut banned = listed("bans", "deny");
    banned.retain(|name| !tolerated.contains(name));
    let findings: Vec<_> = locked_crates()
        .into_iter()
        .filter(|locked| banned.contains(&locked.name))
        .map(|locked| locked.name)
        .collect();
    assert_none("deny.toml bans these crates, and says why", &findings);
}

/// Banned crates that one feature brings along all the same.
fn tolerated_crates() -> Vec<String> {
    let text = fs::read_to_string(project_root().join("deny.toml")).unwrap();
    let lines = text.lines().filter(|line| line.contains("wrappers = ["));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn ring_comes_with_ftp_alone() {
    let manifest = project_root().join("backends/all/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let features: Vec<_> = manifest
        .lines()
        .skip_while(|line| !line.starts_with("default = ["))
        .skip(1)
        .take_while(|line| *line != "]")
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect();
    assert!(features.contains(&"ftp") && features.contains(&"s3"), "{features:?}");
    let uses_ring = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "-p", "strongroom-backends", "-i", "ring"])
            .args(["--no-default-features", "--features", &features.join(",")])
            .current_dir(project_root())
            .output()
            .unwrap();
        !output.stdout.is_empty()
    };
    let others: Vec<_> = features.iter().copied().filter(|feature| *feature != "ftp").collect();
    assert!(uses_ring(&features), "deny.toml tolerates ring for nothing");
    assert!(!uses_ring(&others), "ring came with something else than ftp");
}

#[test]
fn no_crate_is_there_twice() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for locked in locked_crates() {
        versions.entry(locked.name).or_default().push(locked.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let excused = listed("bans", "skip");
    let findings: Vec<_> = versions
        .iter()
        .filter(|(name, _)| !excused.contains(name))
        .map(|(name, versions)| format!("{name}: {}", versions.join(", ")))
        .collect();
    assert_none("two versions of a crate: align them, or excuse one in deny.toml", &findings);
    let stale: Vec<_> = excused.into_iter().filter(|name| !versions.contains_key(name)).collect();
    assert_none("deny.toml excuses crates that are there only once", &stale);
}

#[test]
fn every_licence_is_one_that_we_accept() {
    let allowed = listed("licenses", "allow");
    let mut findings = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        match package["license"].as_str() {
            Some(licence) if is_accepted(licence, &allowed) => {}
            licence => findings.push(format!("{name}: {}", licence.unwrap_or("no licence named"))),
        }
    }
    assert_none("deny.toml lists the licences that we accept", &findings);
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for accepted in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "ISC AND (GPL-3.0 OR MIT)",
        "MIT AND ISC",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-3.0 OR MIT AND ISC",
    ] {
        assert!(is_accepted(accepted, &allowed), "{accepted}");
    }
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR ISC) AND GPL-3.0", ""] {
        assert!(!is_accepted(refused, &allowed), "{refused}");
    }
}

/// A crate as Cargo.lock names it.
struct Locked {
    name: String,
    version: String,
    /// Where it comes from; none for our own.
    source: Option<String>,
}

fn locked_crates() -> Vec<Locked> {
    let text = fs::read_to_string(project_root().join("Cargo.lock")).unwrap();
    let crates: Vec<_> = text
        .split("[[package]]")
        .skip(1)
        .map(|block| {
            let value = |key: &str| {
                let prefix = format!("{key} = \"");
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"'))
                    .map(str::to_owned)
            };
            Locked {
                name: value("name").unwrap(),
                version: value("version").unwrap(),
                source: value("source"),
            }
        })
        .collect();
    assert!(crates.len() > 50, "Cargo.lock was not understood");
    crates
}

/// The names in a list of deny.toml that has one entry a line.
fn listed(section: &str, list: &str) -> Vec<String> {
    let text = fs::read_to_string(project_root().join("deny.toml")).unwrap();
    let names: Vec<_> = text
        .lines()
        .skip_while(|line| *line != format!("[{section}]"))
        .skip_while(|line| *line != format!("{list} = ["))
        .skip(1)
        .take_while(|line| *line != "]")
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    assert!(!names.is_empty(), "deny.toml: no list [{section}] {list}");
    names
}

/// The packages that a build on this machine takes in, as cargo describes them.
fn packages() -> Vec<Value> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", &host])
        .current_dir(project_root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// True if an SPDX expression can be met with `allowed` licences. `AND` binds closer than `OR`;
/// the old `/` means `OR`.
fn is_accepted(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    accepts_any(&mut words, allowed)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn accepts_any(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut accepted = accepts_all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        accepted |= accepts_all(words, allowed);
    }
    accepted
}

fn accepts_all(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut accepted = accepts_one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        accepted &= accepts_one(words, allowed);
    }
    accepted
}

fn accepts_one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let accepted = accepts_any(words, allowed);
        return accepted && words.next_if_eq(&")").is_some();
    }
    let Some(name) = words.next() else { return false };
    let licence = match words.next_if_eq(&"WITH") {
        Some(_) => format!("{name} WITH {}", words.next().unwrap_or_default()),
        None => name.to_owned(),
    };
    allowed.contains(&licence)
}
