//! Months in minutes: backups, forgets and prunes of one repository, all at once, killed and
//! frozen at any time.
//!
//! Afterwards every snapshot that somebody was told of, and that nobody began to forget, comes
//! back byte for byte; nothing is stored that nobody needs; and nobody had to do anything by hand.
//! `scripts/soak` runs it for as long as one likes, on any storage.

mod actors;
mod chance;
mod history;
mod process;
mod proof;

use std::{
    ffi::OsString,
    thread,
    time::{Duration, Instant},
};

use self::{
    actors::{Forgetter, Pruner, Writer},
    history::History,
    process::{Surroundings, Tally},
};
use crate::support::Lab;

/// How many processes back up at once.
const WRITERS: usize = 4;
/// How many prune.
const PRUNERS: usize = 2;
/// Without any other word.
const SECONDS: u64 = 20;

/// What the environment says.
struct Settings {
    url: Option<String>,
    duration: Duration,
    seed: u64,
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        Self {
            url: std::env::var("STRONGROOM_SOAK_URL").ok(),
            duration: Duration::from_secs(number("STRONGROOM_SOAK_SECONDS").unwrap_or(SECONDS)),
            seed: number("STRONGROOM_SOAK_SEED").unwrap_or(1),
        }
    }
}

/// What storages need to know: credentials, regions, certificates.
fn storage_variables() -> Vec<(OsString, OsString)> {
    let is_meant = |name: &str| {
        let ours = ["STRONGROOM_SOAK", "STRONGROOM_REPOSITORY", "STRONGROOM_PASSWORD"];
        ["AWS_", "AZURE_", "GOOGLE_", "STRONGROOM_"].iter().any(|start| name.starts_with(start))
            && !ours.iter().any(|start| name.starts_with(start))
    };
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_meant)).collect()
}

/// The place `name` below `url`, in front of its settings.
fn below(url: &str, name: &str) -> String {
    match url.split_once('?') {
        Some((place, settings)) => format!("{}/{name}?{settings}", place.trim_end_matches('/')),
        None => format!("{}/{name}", url.trim_end_matches('/')),
    }
}

#[test]
fn nothing_is_lost_and_nothing_stays_whoever_is_killed() {
    let settings = Settings::read();
    let lab = Lab::new();
    let place = format!("soak-{:08x}-{}", std::process::id(), settings.seed);
    let folder = lab.path("soaked").into_os_string().into_string().unwrap();
    let url = below(settings.url.as_deref().unwrap_or(&folder), &place);
    println!("seed {}, {} s, {url}", settings.seed, settings.duration.as_secs());
    let surroundings = Surroundings::new(&lab, url, storage_variables());
    let small = ["--kdf-memory", "32KiB", "--kdf-passes", "1"];
    let cut = ["--chunk-size", "4KiB", "--pack-size", "1MiB"];
    surroundings.run(&[&["init"][..], &small, &cut].concat()).expect(0);

    let history = History::default();
    let tally = run(&settings, &surroundings, &history);
    println!("{tally:#?}");
    assert_eq!(tally.surprises, [""; 0], "no process fails that was left in peace");
    let proof = proof::prove(&surroundings, &history);
    println!("{proof:?}");
    let happened = [tally.backups, tally.forgets, tally.prunes, tally.killed, tally.stopped];
    assert!(happened.iter().all(|count| *count > 0) && proof.restored > 0, "too little happened");
}

/// Lets everybody work until the time is over.
fn run(settings: &Settings, surroundings: &Surroundings<'_>, history: &History) -> Tally {
    let end = Instant::now() + settings.duration;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..WRITERS {
            let mut writer = Writer::new(surroundings, history, settings.seed, number);
            threads.push(scope.spawn(move || writer.work(end)));
        }
        for number in 0..PRUNERS {
            let pruner = Pruner::new(surroundings, settings.seed, number);
            threads.push(scope.spawn(move || pruner.work(end)));
        }
        let forgetter = Forgetter::new(surroundings, history, settings.seed);
        threads.push(scope.spawn(move || forgetter.work(end)));
        let tallies = threads.into_iter().map(|thread| thread.join().unwrap());
        tallies.fold(Tally::default(), Tally::plus)
    })
}

#[test]
fn places_stand_in_front_of_settings() {
    assert_eq!(below("/tmp/a/", "b"), "/tmp/a/b");
    assert_eq!(below("s3://bucket/p?region=x", "b"), "s3://bucket/p/b?region=x");
}
