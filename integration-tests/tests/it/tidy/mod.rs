//! The house rules, checked on the source tree itself: layers, files, dependencies.
//!
//! Reads text only; it knows nothing of what the code does.

mod dependencies;
mod files;
mod layers;
mod manifests;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the project.
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What git, cargo, the scripts and Python make.
const NOT_OURS: &[&str] = &[".git", ".tools", "__pycache__", "scratch", "target"];

/// A text file of the project.
struct TextFile {
    /// Its path below the project's root, with `/` between names.
    path: String,
    text: String,
}

impl TextFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Every text file of the project but what cargo and the scripts make, sorted by path.
fn text_files() -> Vec<TextFile> {
    let root = project_root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if NOT_OURS.contains(&&*entry.file_name().to_string_lossy()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push(TextFile { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The Rust files below `folder` (a path below the root).
fn rust_files(folder: &str) -> Vec<TextFile> {
    let mut files = text_files();
    files.retain(|file| file.is_rust() && file.path.starts_with(folder));
    assert!(!files.is_empty(), "no Rust file below {folder}");
    files
}

/// Fails with one line for each finding, under the rule that they break.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n  {}", findings.join("\n  "));
}
