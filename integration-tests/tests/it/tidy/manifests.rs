//! The crates' manifests: versions and lints come from the workspace, and crates know only the
//! crates that the architecture lets them know.

use std::fs;

use super::{TextFile, assert_none, project_root, text_files};

/// What must stand in every member's `[package]` section.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license"];

/// Which of our crates a folder may name in `[dependencies]`.
const BACKEND: &[&str] = &["strongroom-core", "strongroom-backend-support"];

const MAY_KNOW: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("backends/local", &["strongroom-core"]),
    ("backends/support", &["strongroom-core"]),
    ("backends/s3", BACKEND),
    ("backends/azure", BACKEND),
    ("backends/smb", BACKEND),
    ("backends/opendal", BACKEND),
    ("backends/object-store", BACKEND),
    (
        "backends/all",
        &[
            "strongroom-core",
            "strongroom-backend-support",
            "strongroom-local",
            "strongroom-s3",
            "strongroom-azure",
            "strongroom-smb",
            "strongroom-opendal",
            "strongroom-object-store",
        ],
    ),
    ("sources", &["strongroom-core"]),
    ("cli", &["strongroom-core", "strongroom-backends", "strongroom-sources"]),
    ("integration-tests", &[]),
];

/// Crates that core must never see: front ends, network, configuration files, SDKs.
const CORE_NEVER: &[&str] = &[
    "clap",
    "reqwest",
    "hyper",
    "http",
    "url",
    "toml",
    "serde_json",
    "rustls",
    "anyhow",
    "rustix",
];

#[test]
fn members_inherit_versions_and_lints() {
    let mut findings = Vec::new();
    for manifest in manifests() {
        for key in INHERITED {
            if !manifest.text.contains(&format!("\n{key}.workspace = true")) {
                findings.push(format!("{}: `{key}.workspace = true` is missing", manifest.path));
            }
        }
        if !manifest.text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{}: `[lints] workspace = true` is missing", manifest.path));
        }
    }
    assert_none("a member of the workspace inherits what the workspace decides", &findings);
}

#[test]
fn dependencies_come_from_the_workspace() {
    let mut findings = Vec::new();
    for manifest in manifests() {
        for (section, line) in dependency_lines(&manifest.text) {
            if !line.contains("workspace = true") {
                findings.push(format!("{}: [{section}] {line}", manifest.path));
            }
        }
    }
    assert_none("dependencies and their versions stand in the root Cargo.toml", &findings);
}

#[test]
fn crates_know_only_whom_they_may() {
    let mut findings = Vec::new();
    for manifest in manifests() {
        let folder = manifest.path.trim_end_matches("/Cargo.toml");
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == folder) else {
            findings.push(format!("{folder}: say in MAY_KNOW which of our crates it may know"));
            continue;
        };
        for (section, line) in dependency_lines(&manifest.text) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let is_stranger = name.starts_with("strongroom-") && !allowed.contains(&name);
            let is_banned = folder == "core" && CORE_NEVER.contains(&name);
            if section == "dependencies" && (is_stranger || is_banned) {
                findings.push(format!("{folder} must not depend on {name}"));
            }
        }
    }
    assert_none("the architecture says which crate knows which", &findings);
}

#[test]
fn every_crate_of_the_tree_is_a_member() {
    let root = fs::read_to_string(project_root().join("Cargo.toml")).unwrap();
    let findings: Vec<_> = manifests()
        .iter()
        .map(|manifest| manifest.path.trim_end_matches("/Cargo.toml").to_owned())
        .filter(|folder| !root.contains(&format!("\"{folder}\"")))
        .collect();
    assert_none("a crate outside the workspace is neither linted nor tested", &findings);
}

/// The members' manifests.
fn manifests() -> Vec<TextFile> {
    let mut files = text_files();
    files.retain(|file| file.path.ends_with("/Cargo.toml"));
    files
}

/// The lines of the dependency sections, each with its section.
fn dependency_lines(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            lines.push((section, line));
        }
    }
    lines
}
