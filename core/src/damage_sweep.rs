//! Every bit of every small object is flipped, and bits of packs at random; objects get lost.
//!
//! Damage is noticed, nothing comes back other than it was saved, and where there is parity,
//! everything is as before.
//!
//! All bits: `cargo test -p strongroom-core damage_sweep -- --ignored --nocapture`

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    error::Result,
    forget::{LabelChange, TagChange, change_labels},
    id::{ClientId, SessionId},
    repository::{Announcement, Repository, Snapshot, keys::RotateOptions},
    target::{ObjectKey, TargetExt},
    testing::stage::{
        Files, Stage, Tree, credential, files, objects, prune_once, restored, slot, tiny_tree,
        tree, verified,
    },
};

/// Bits of copies are flipped more seldom: `repository::protection` flips each of them.
const COPIES_STRIDE: usize = 16;

/// What became of damage.
#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    /// The repository did not open.
    refused: u64,
    /// A verification named the object.
    named: u64,
    /// All is as before.
    healed: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.flips += other.flips;
        self.refused += other.refused;
        self.named += other.named;
        self.healed += other.healed;
    }

    /// At least 99 of 100.
    fn is_nearly_all_healed(&self) -> bool {
        self.healed * 100 >= self.flips * 99
    }
}

/// A repository with objects of every kind.
async fn stage(tree: Tree, has_parity: bool) -> Stage {
    let mut stage = Stage::of(tree, has_parity).await;
    for _ in 0..5 {
        stage.back_up().await;
    }
    let repository = stage.reopen().await;
    let ids: Vec<SessionId> = stage.promises.iter().map(|promise| promise.id).collect();
    let tags = TagChange::Set(vec!["kept".to_owned()]);
    change_labels(&repository, &ids[3..4], &LabelChange::hold(true)).await.unwrap();
    change_labels(&repository, &ids[4..], &LabelChange::tags(tags)).await.unwrap();
    stage.forget(2).await;
    prune_once(&stage.reopen().await).await.unwrap();
    let options = RotateOptions { slot: slot(), removes_others: true };
    let repository = stage.reopen().await;
    repository.rotate_keys(&credential("password"), &options).await.unwrap();
    stage.back_up().await;
    prune_once(&stage.reopen().await).await.unwrap();
    Announcement::make(&stage.reopen().await, ClientId([5; 16]), "elsewhere").await.unwrap();
    let stored = objects(&stage.target).await;
    for kind in ["keys/epochs", "labels", "tombstones", "collector", "index", "sessions"] {
        let below = format!("meta/{kind}/");
        assert!(stored.keys().any(|key| key.as_str().starts_with(&below)), "nothing in {below}");
    }
    stage
}

fn is_small(key: &ObjectKey) -> bool {
    !["packs/", "parity/"].iter().any(|below| key.as_str().starts_with(below))
}

/// Announcements have no copies: nothing is lost with one.
fn is_announcement(key: &ObjectKey) -> bool {
    key.as_str().starts_with("meta/sessions/")
}

fn is_copy(key: &ObjectKey) -> bool {
    key.as_str().starts_with("copies/")
}

fn flipped(content: &Bytes, bit: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    content[bit / 8] ^= 1 << (bit % 8);
    content
}

/// Numbers that are the same in every run.
fn draws() -> impl FnMut() -> usize {
    let mut stream = blake3::Hasher::new().update(b"bits of packs").finalize_xof();
    move || {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        u64::from_le_bytes(bytes) as usize
    }
}

/// A repository that is damaged again and again.
struct Sweep {
    stage: Stage,
    stored: BTreeMap<ObjectKey, Bytes>,
    expected: BTreeMap<SessionId, Files>,
}

impl Sweep {
    async fn of(stage: Stage) -> Self {
        let stored = objects(&stage.target).await;
        let expected = stage
            .promises
            .iter()
            .map(|promise| (promise.id, files(&(stage.tree)(promise.version))))
            .collect();
        let sweep = Self { stage, stored, expected };
        let repository = sweep.stage.reopen().await;
        assert_eq!(verified(&repository).await.unwrap().damage, []);
        assert_eq!(sweep.all_that_come_back(&repository).await.unwrap(), sweep.expected.len());
        sweep
    }

    async fn open(&self) -> Result<Repository> {
        let credential = credential("password");
        Repository::open(self.stage.target.clone(), self.stage.runtime.clone(), &credential).await
    }

    /// How many snapshots can be restored; all of them hold what they held.
    async fn all_that_come_back(&self, repository: &Repository) -> Result<usize> {
        let snapshots: Vec<Snapshot> = repository.snapshots().await?.snapshots;
        let mut count = 0;
        for snapshot in &snapshots {
            let Ok(found) = restored(repository, snapshot).await else { continue };
            // one whose tombstone is damaged is there again
            if let Some(expected) = self.expected.get(&snapshot.id) {
                assert!(found == *expected, "{} comes back with other content", snapshot.id);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Puts `damage` in the place of `key`, says what became of it, and puts the object back.
    async fn look(&self, key: &ObjectKey, damage: Vec<u8>) -> Tally {
        let target = &self.stage.target;
        target.replace(key, damage).await.unwrap();
        let mut tally = Tally { flips: 1, ..Tally::default() };
        match self.look_at(key).await {
            // what is condemned, or which key is in force, is not to be guessed
            Err(_) => tally.refused = 1,
            Ok((back, is_named)) => {
                let is_as_before = target.get_full(key).await.unwrap() == self.stored[key];
                tally.named = u64::from(is_named);
                tally.healed = u64::from(is_as_before && back == self.expected.len());
            }
        }
        target.replace(key, self.stored[key].clone()).await.unwrap();
        tally
    }

    /// How many snapshots come back, and whether a verification names `key`.
    async fn look_at(&self, key: &ObjectKey) -> Result<(usize, bool)> {
        let repository = self.open().await?;
        let back = match is_copy(key) {
            // nobody reads it unless the object itself is damaged
            true => self.expected.len(),
            false => self.all_that_come_back(&repository).await?,
        };
        let report = verified(&repository).await?;
        let is_it = |name: &String| key.as_str().ends_with(name.as_str());
        let damaged = report.damage.iter().map(|damage| &damage.object);
        Ok((back, damaged.chain(&report.healed).any(is_it)))
    }

    /// Flips bits of small objects, each `stride`th.
    async fn flip_small(&self, stride: usize) -> Tally {
        let mut tally = Tally::default();
        for (key, content) in self.stored.iter().filter(|(key, _)| is_small(key)) {
            let mut own = Tally::default();
            let stride = if is_copy(key) { stride * COPIES_STRIDE } else { stride };
            for bit in (key.as_str().len() % stride..content.len() * 8).step_by(stride) {
                let found = self.look(key, flipped(content, bit)).await;
                let is_noticed = found.refused + found.named + found.healed > 0;
                assert!(is_noticed, "nobody notices bit {bit} of {key}");
                own.add(&found);
            }
            if self.has_parity() && is_announcement(key) {
                println!("{key}, without copies: {own:?}");
                continue;
            }
            if self.has_parity() {
                assert_eq!(own.healed, own.flips, "{key}: {own:?}");
            }
            tally.add(&own);
        }
        assert!(objects(&self.stage.target).await == self.stored, "nothing else changes");
        tally
    }

    /// Flips bits of packs at random.
    async fn flip_packs(&self, count: u64) -> Tally {
        let packs: Vec<_> =
            self.stored.iter().filter(|(key, _)| key.as_str().starts_with("packs/")).collect();
        let (mut tally, mut draw) = (Tally::default(), draws());
        for _ in 0..count {
            let (key, content) = packs[draw() % packs.len()];
            let bit = draw() % (content.len() * 8);
            let found = self.look(key, flipped(content, bit)).await;
            let is_noticed = found.refused + found.named + found.healed > 0;
            assert!(is_noticed, "nobody notices bit {bit} of {key}");
            tally.add(&found);
        }
        tally
    }

    fn has_parity(&self) -> bool {
        self.stored.keys().any(|key| key.as_str().starts_with("parity/"))
    }
}

/// Flips bits of small objects, each `stride`th, and of packs.
async fn flips(has_parity: bool, stride: usize, in_packs: u64) {
    let with = if has_parity { "with parity" } else { "without parity" };
    let tiny = Sweep::of(stage(tiny_tree, has_parity).await).await;
    let small = tiny.flip_small(stride).await;
    println!("small objects {with}: {small:?}");
    let larger = Sweep::of(stage(tree, has_parity).await).await;
    let packs = larger.flip_packs(in_packs).await;
    println!("packs {with}: {packs:?}");
    for tally in [small, packs] {
        assert!(!has_parity || tally.is_nearly_all_healed(), "{tally:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn flipped_bits_are_noticed() {
        flips(false, 509, 60).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn flipped_bits_are_healed_where_there_is_parity() {
        flips(true, 331, 60).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a quarter of an hour; see the top of this file"]
    async fn every_flipped_bit_is_noticed() {
        flips(false, 1, 2_000).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "half an hour; see the top of this file"]
    async fn every_flipped_bit_is_healed_where_there_is_parity() {
        flips(true, 1, 2_000).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_opens_and_all_comes_back_without_any_one_small_object() {
        let sweep = Sweep::of(stage(tree, true).await).await;
        let mut lost = 0;
        for key in sweep.stored.keys().filter(|key| is_small(key)) {
            let target = &sweep.stage.target;
            target.delete(key).await.unwrap();
            let repository = sweep.open().await.unwrap();
            let back = sweep.all_that_come_back(&repository).await.unwrap();
            assert_eq!(back, sweep.expected.len(), "without {key}");
            assert_eq!(verified(&repository).await.unwrap().damage, [], "without {key}");
            let is_back = target.exists(key).await.unwrap();
            assert!(is_back || is_announcement(key), "{key} is not back");
            lost += 1;
        }
        println!("{lost} small objects, each lost and healed");
    }
}
