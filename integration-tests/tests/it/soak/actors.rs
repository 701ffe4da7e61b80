//! Who works on the repository: clients that back up, somebody who forgets, collectors.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    chance::Chance,
    history::{History, tree_of},
    process::{Client, Surroundings, Tally},
};
use crate::support::pseudo_random;

/// Backups without a sign of life are given up after so long, in seconds.
pub const FENCE_AFTER: &str = "2s";
/// A forget waits so long for the next one.
const FORGET_EVERY: Duration = Duration::from_millis(1_500);
/// And a prune at most so long: two that begin again at once take each other over for ever.
const PRUNE_EVERY_MAX: Duration = Duration::from_secs(4);
/// When backups and forgets are at work, and prunes, which wait for them.
const HARM_WITHIN: Duration = Duration::from_millis(1_200);
const HARM_PRUNES_WITHIN: Duration = Duration::from_secs(6);
/// Contents that all clients draw their files from, so that they share chunks.
const CONTENTS: u64 = 60;

/// A client with a folder that changes.
pub struct Writer<'a> {
    surroundings: &'a Surroundings<'a>,
    history: &'a History,
    chance: Chance,
    number: usize,
    client: String,
    source: PathBuf,
}

impl<'a> Writer<'a> {
    /// The client of this number, with a folder of its own.
    pub fn new(
        surroundings: &'a Surroundings<'a>,
        history: &'a History,
        seed: u64,
        number: usize,
    ) -> Self {
        let client = format!("client-{number}");
        let source = surroundings.folder(&client).join("source");
        fs::create_dir_all(&source).unwrap();
        let chance = Chance::new(seed, &client);
        Self { surroundings, history, chance, number, client, source }
    }

    /// Backs up again and again.
    pub fn work(&mut self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < end {
            self.change();
            let tree = tree_of(&self.source);
            let source = self.source.to_str().unwrap();
            let args = ["backup", "--json", "--host", &self.client, source];
            let client = Client { name: &self.client, harm_within: HARM_WITHIN };
            let chance = &mut self.chance;
            let ended = self.surroundings.run_in_danger(client, &args, chance, &mut tally);
            if let Some(outcome) = ended {
                let id = outcome.summary()["snapshot_id"].as_str().unwrap().to_owned();
                self.history.promise(id, self.number, tree);
                tally.backups += 1;
            }
        }
        tally
    }

    /// Some files come, change and go; sometimes nothing happens.
    fn change(&mut self) {
        let is_first = fs::read_dir(&self.source).unwrap().next().is_none();
        for _ in 0..self.chance.below(5) + 3 * u64::from(is_first) {
            let folder = self.source.join(format!("folder-{}", self.chance.below(3)));
            let path = folder.join(format!("file-{}", self.chance.below(6)));
            if path.exists() && self.chance.happens(25) {
                fs::remove_file(&path).unwrap();
                continue;
            }
            let common = self.chance.below(CONTENTS);
            let own = 1_000 + self.number as u64 * 1_000_000 + self.chance.below(1_000_000);
            let content = if self.chance.happens(50) { common } else { own };
            let length = 200 + (content * 7_919 % 300_000) as usize;
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, pseudo_random(length, content)).unwrap();
        }
    }
}

/// Somebody who forgets snapshots.
pub struct Forgetter<'a> {
    surroundings: &'a Surroundings<'a>,
    history: &'a History,
    chance: Chance,
}

impl<'a> Forgetter<'a> {
    pub fn new(surroundings: &'a Surroundings<'a>, history: &'a History, seed: u64) -> Self {
        Self { surroundings, history, chance: Chance::new(seed, "forgetter") }
    }

    /// Forgets again and again.
    pub fn work(mut self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < end {
            let doomed = self.history.doom(&mut self.chance);
            if doomed.is_empty() {
                thread::sleep(FORGET_EVERY);
                continue;
            }
            let mut args = vec!["forget", "--json"];
            args.extend(doomed.iter().map(String::as_str));
            let client = Client { name: "forgetter", harm_within: HARM_WITHIN };
            let (chance, surroundings) = (&mut self.chance, self.surroundings);
            if surroundings.run_in_danger(client, &args, chance, &mut tally).is_some() {
                self.history.forgotten(&doomed);
                tally.forgets += 1;
            }
        }
        tally
    }
}

/// A collector.
pub struct Pruner<'a> {
    surroundings: &'a Surroundings<'a>,
    chance: Chance,
    client: String,
}

impl<'a> Pruner<'a> {
    pub fn new(surroundings: &'a Surroundings<'a>, seed: u64, number: usize) -> Self {
        let client = format!("pruner-{number}");
        Self { surroundings, chance: Chance::new(seed, &client), client }
    }

    /// Prunes again and again.
    pub fn work(mut self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < end {
            let unused = ["0%", "20%", "unlimited"][self.chance.below(3) as usize];
            let args = ["prune", "--json", "--fence-after", FENCE_AFTER, "--max-unused", unused];
            let client = Client { name: &self.client, harm_within: HARM_PRUNES_WITHIN };
            let chance = &mut self.chance;
            let ended = self.surroundings.run_in_danger(client, &args, chance, &mut tally);
            tally.prunes += u64::from(ended.is_some());
            thread::sleep(self.chance.wait(PRUNE_EVERY_MAX));
        }
        tally
    }
}
