//! The layers: who may know whom. Core's modules are declared in layer order and import only
//! what is declared above them; backends and sources see only their doors.

use super::{TextFile, assert_none, project_root, rust_files};

/// The last module of layer 3: up to here it is bytes in, bytes out.
const LAST_PURE_MODULE: &str = "format";

/// What pure modules must not touch; `runtime` is where the outside world comes in.
const IMPURE: &[&str] =
    &["tokio", "std::env", "std::fs", "std::net", "std::process", "std::thread"];

#[test]
fn core_modules_import_only_what_is_declared_above_them() {
    let order = core_modules();
    let mut findings = Vec::new();
    for file in rust_files("core/src/") {
        let Some(own) = module_of(&file.path) else { continue };
        let own_layer = order.iter().position(|name| name == own);
        for (line, used) in first_names_after("crate", production(&file)) {
            let used_layer = order.iter().position(|name| *name == used);
            if used_layer.is_some() && used_layer > own_layer {
                findings.push(format!(
                    "{}:{line}: `{own}` imports `{used}`, which is declared below it",
                    file.path
                ));
            }
        }
    }
    assert_none("modules of core/src/lib.rs import only what stands above them there", &findings);
}

#[test]
fn every_core_module_is_declared_in_layer_order() {
    let order = core_modules();
    let findings: Vec<_> = rust_files("core/src/")
        .iter()
        .filter_map(|file| Some((file, module_of(&file.path)?)))
        .filter(|(_, module)| !order.iter().any(|name| name == module))
        .map(|(file, module)| format!("{}: `{module}` is not in lib.rs", file.path))
        .collect();
    assert_none("every file of core belongs to a module that lib.rs declares", &findings);
}

#[test]
fn bytes_and_formats_do_no_io() {
    let order = core_modules();
    let last = order.iter().position(|name| name == LAST_PURE_MODULE).unwrap();
    let mut findings = Vec::new();
    for file in rust_files("core/src/") {
        let Some(own) = module_of(&file.path) else { continue };
        let layer = order.iter().position(|name| name == own);
        if own == "runtime" || layer.is_none_or(|layer| layer > last) {
            continue;
        }
        for (number, line) in production(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for impure in IMPURE.iter().filter(|impure| code.contains(&format!("{impure}::"))) {
                findings.push(format!("{}:{}: {impure}", file.path, number + 1));
            }
        }
    }
    assert_none("layers 1 to 3 know neither tokio, nor files, nor the environment", &findings);
}

#[test]
fn backends_see_only_the_door_to_storage() {
    let findings: Vec<_> = rust_files("backends/")
        .iter()
        .flat_map(|file| {
            first_names_after("strongroom_core", production(file))
                .into_iter()
                .filter(|(_, name)| name != "target")
                .map(|(line, name)| format!("{}:{line}: strongroom_core::{name}", file.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none("a backend imports only `strongroom_core::target`", &findings);
}

#[test]
fn sources_know_no_target() {
    let findings: Vec<_> = rust_files("sources/")
        .iter()
        .flat_map(|file| {
            first_names_after("strongroom_core", production(file))
                .into_iter()
                .filter(|(_, name)| matches!(&**name, "target" | "format" | "crypto"))
                .map(|(line, name)| format!("{}:{line}: strongroom_core::{name}", file.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none("sources know neither targets, nor formats, nor ciphers", &findings);
}

/// The modules of core in the order of their declaration.
fn core_modules() -> Vec<String> {
    let text = std::fs::read_to_string(project_root().join("core/src/lib.rs")).unwrap();
    text.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The top-level module of core that a file belongs to; none for `lib.rs`.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("core/src/")?;
    let name = below.split('/').next()?.trim_end_matches(".rs");
    (name != "lib").then_some(name)
}

/// The text of a file up to its tests, which may look everywhere.
fn production(file: &TextFile) -> &str {
    let is_test =
        ["/tests/", "/tests.rs", "/examples/"].iter().any(|part| file.path.contains(part));
    if is_test {
        return "";
    }
    file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The first name after each `root::` in `text`, with its line: `error` for `crate::error::Error`,
/// and both `a` and `b` for `crate::{a::X, b}`.
fn first_names_after(root: &str, text: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let prefix = format!("{root}::");
    for (at, _) in text.match_indices(&prefix) {
        let is_part_of_name =
            text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        if is_part_of_name || is_comment(text, at) {
            continue;
        }
        let line = text[..at].lines().count().max(1);
        let rest = &text[at + prefix.len()..];
        let found = match rest.strip_prefix('{') {
            Some(group) => names_of_group(group),
            None => vec![leading_name(rest)],
        };
        names.extend(found.into_iter().filter(|name| !name.is_empty()).map(|name| (line, name)));
    }
    names
}

fn is_comment(text: &str, at: usize) -> bool {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line_start..at].contains("//")
}

/// The first names of the parts of `a::X, b::{c, d}, e}...`.
fn names_of_group(group: &str) -> Vec<String> {
    let mut names = vec![leading_name(group)];
    let mut depth = 0_usize;
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(leading_name(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_read_in_all_their_shapes() {
    let text = "use crate::{error::{A, b}, id, self as c};\n// crate::no\n\
                fn f() { crate::x::y() }\nuse othercrate::z;\nuse crate::last::{q, r};";
    let names: Vec<_> =
        first_names_after("crate", text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["error", "id", "self", "x", "last"]);
}
