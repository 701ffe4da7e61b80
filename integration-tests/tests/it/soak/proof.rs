//! What must hold once everybody has stopped, looked at with the binary alone.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    actors::FENCE_AFTER,
    history::{History, tree_of},
    process::Surroundings,
};

/// A prune that takes another one over comes first, and one that begins anew after it.
const PRUNES_MAX: usize = 3;

/// A day later, nobody can be writing a half-made file any more.
const LATER: Duration = Duration::from_secs(25 * 60 * 60);

/// What was looked at.
#[derive(Debug, Default)]
pub struct Proof {
    /// Snapshots that were promised, and came back as they were; those too that somebody began
    /// to forget, and was killed.
    pub restored: usize,
    /// Snapshots that are there without a promise: whoever made them was killed.
    pub others: usize,
    /// Half-made files of killed processes, which are no more.
    pub half_made: usize,
    /// Packs in the end.
    pub packs: u64,
}

/// Prunes in peace, and looks at everything.
pub fn prove(surroundings: &Surroundings<'_>, history: &History) -> Proof {
    let left_behind = age_half_made(&surroundings.folder("soaked"));
    prune(surroundings);
    let mut proof = Proof::default();
    let listed = surroundings.run(&["snapshots", "--json"]).expect(0).objects();
    let ids: Vec<&str> = listed.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let mut problems = Vec::new();
    for promise in history.all() {
        let is_there = ids.contains(&&*promise.id);
        if promise.is_forgotten && is_there {
            problems.push(format!("{} is forgotten, and there", promise.id));
        }
        if !is_there {
            let what = format!("{} of client {} is gone", promise.id, promise.writer);
            problems.extend((!promise.is_doomed).then_some(what));
            continue;
        }
        let place = surroundings.folder("restored");
        let target = place.to_str().unwrap();
        let restored = surroundings.run(&["restore", &promise.id, "--target", target, "--delete"]);
        let source = surroundings.folder(&format!("client-{}/source", promise.writer));
        let back = place.join(source.strip_prefix("/").unwrap());
        if restored.code != 0 {
            problems.push(format!("{}: {restored}", promise.id));
        } else if tree_of(&back) != promise.tree {
            problems.push(format!("{} comes back with other content", promise.id));
        }
        fs::remove_dir_all(&place).unwrap();
        proof.restored += 1;
    }
    proof.others = ids.len() - proof.restored.min(ids.len());
    assert!(problems.is_empty(), "{problems:#?}");
    proof.packs = expect_nothing_else(surroundings);
    let still_there: Vec<_> = left_behind.iter().filter(|path| path.exists()).collect();
    assert!(still_there.is_empty(), "half-made files stay: {still_there:?}");
    proof.half_made = left_behind.len();
    proof
}

/// On a folder: makes half-made files of killed processes look as old as they will be a day later.
fn age_half_made(folder: &Path) -> Vec<PathBuf> {
    if !folder.exists() {
        return Vec::new();
    }
    let names = tree_of(folder).into_keys();
    let half_made: Vec<_> = names
        .filter(|name| name.split('/').any(|part| part == ".strongroom-tmp"))
        .map(|name| folder.join(name))
        .collect();
    for path in &half_made {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - LATER).unwrap();
    }
    half_made
}

/// Prunes until there is nothing left to do.
fn prune(surroundings: &Surroundings<'_>) {
    for _ in 0..PRUNES_MAX {
        let args = ["prune", "--json", "--fence-after", FENCE_AFTER, "--max-unused", "0%"];
        if surroundings.run(&args).expect(0).summary()["took_over"] == false {
            return;
        }
    }
    panic!("every prune finds another one to take over from");
}

/// Everything is sound, and nothing is stored that nobody needs. How many packs there are.
fn expect_nothing_else(surroundings: &Surroundings<'_>) -> u64 {
    let report = surroundings.run(&["verify", "--read-data", "--json"]).expect(0).summary();
    assert_eq!(report["unreferenced"], 0, "{report:#}");
    let args = ["prune", "--json", "--dry-run", "--max-unused", "0%"];
    let plan: Value = surroundings.run(&args).expect(0).summary();
    let is_empty = ["packs_removed", "packs_rewritten"].iter().all(|key| plan[key] == 0);
    assert!(is_empty, "there is more to prune: {plan:#}");
    expect_no_leftovers(&surroundings.folder("soaked"));
    plan["packs_before"].as_u64().unwrap()
}

/// On a folder: no parity of packs that are gone, and no copies of objects that are gone.
fn expect_no_leftovers(folder: &Path) {
    if !folder.exists() {
        return;
    }
    let names: Vec<String> = tree_of(folder).into_keys().collect();
    let is_there = |name: &str| names.iter().any(|other| other == name);
    for name in &names {
        let (place, rest) = name.split_once('/').unwrap();
        let primary = match rest {
            _ if rest.starts_with("parity/") => rest.replacen("parity/", "packs/", 1),
            _ if rest.starts_with("copies/") => rest.splitn(3, '/').last().unwrap().to_owned(),
            _ => continue,
        };
        assert!(is_there(&format!("{place}/{primary}")), "{name} stands alone");
    }
}
