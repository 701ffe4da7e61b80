//! The real engine in a simulated world: four clients, people who forget, two collectors.
//!
//! Sessions, commits, the index, tables, packs and prune are the engine's own; the storage is far
//! away and forgetful, processes die and freeze, clocks jump, requests come late and twice. Time
//! is virtual, and all chance comes from a seed: one seed is one run, and runs again the same.
//!
//! Many seeds: `cargo test --release -p strongroom-core simulation -- --ignored --nocapture`
//! One seed with all of its calls:
//! `SEED=7 cargo test -p strongroom-core simulation::tests::one_seed -- --ignored --nocapture`

mod actors;
mod dice;
mod network;
mod world;

use self::world::{Tally, World};

/// How many clients back up.
const WRITERS: u64 = 4;
/// How many people forget snapshots.
const FORGETTERS: u64 = 1;
/// How many collectors prune.
const COLLECTORS: u64 = 2;

/// What a run left for comparison.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    /// Of all calls in their order.
    hash: String,
    calls: u64,
    tally: Tally,
}

/// Runs one seed; panics if a promise is broken.
fn run(seed: u64, is_told: bool) -> Summary {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(seed, is_told).await;
        let writers = (0..WRITERS).map(|lane| actors::write(world.clone(), lane));
        let forgetters = (0..FORGETTERS).map(|lane| actors::forget(world.clone(), 4 + lane));
        let collectors = (0..COLLECTORS).map(|lane| actors::collect(world.clone(), 8 + lane));
        futures::join!(
            futures::future::join_all(writers),
            futures::future::join_all(forgetters),
            futures::future::join_all(collectors),
        );
        let settled = std::panic::AssertUnwindSafe(world.settle());
        let settled = futures::FutureExt::catch_unwind(settled).await;
        let (hash, calls) = world.network.summary();
        if let Err(panic) = settled {
            for line in world.network.told() {
                println!("{line}");
            }
            std::panic::resume_unwind(panic);
        }
        Summary { hash, calls, tally: world.tally() }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        panic::catch_unwind,
        sync::{Arc, Mutex},
    };

    use super::{run, world::Tally};
    use crate::tasks;

    /// What the threads of [`run_all`] share.
    struct Progress {
        seeds: Range<u64>,
        failed: Vec<u64>,
        calls: u64,
        tally: Tally,
    }

    /// Runs seeds until there are none left.
    fn work(progress: &Mutex<Progress>) {
        let next = || progress.lock().unwrap().seeds.next();
        while let Some(seed) = next() {
            let outcome = catch_unwind(|| run(seed, false));
            let mut progress = progress.lock().unwrap();
            match outcome {
                Ok(summary) => {
                    progress.calls += summary.calls;
                    progress.tally = progress.tally.plus(summary.tally);
                }
                Err(_) => progress.failed.push(seed),
            }
        }
    }

    /// Runs all `seeds` on two threads; fails with those that broke a promise.
    fn run_all(seeds: Range<u64>) {
        let count = seeds.end - seeds.start;
        let (failed, tally) = (Vec::new(), Tally::default());
        let progress = Arc::new(Mutex::new(Progress { seeds, failed, calls: 0, tally }));
        let threads = [(); 2].map(|()| {
            let progress = progress.clone();
            tasks::spawn_thread("simulation", move || {
                work(&progress);
                Ok(())
            })
            .unwrap()
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let Progress { failed, calls, tally, .. } = &*progress.lock().unwrap();
        println!("{count} seeds, {calls} calls, {tally:#?}");
        assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
        let Tally { fenced, killed, taken_over, packs_removed, packs_rewritten, bases, .. } = tally;
        let happened = [fenced, killed, taken_over, packs_removed, packs_rewritten, bases];
        assert!(happened.iter().all(|count| **count > 0), "too little went wrong: {tally:?}");
    }

    #[test]
    fn five_hundred_seeds_keep_their_promises() {
        run_all(0..500);
    }

    #[test]
    fn a_seed_runs_again_the_same() {
        for seed in 1_000..1_010 {
            assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
        }
    }

    #[test]
    #[ignore = "an hour; see the top of this file"]
    fn fifty_thousand_seeds_keep_their_promises() {
        run_all(10_000..60_000);
    }

    #[test]
    #[ignore = "prints every call; see the top of this file"]
    #[expect(clippy::disallowed_methods, reason = "the seed is given on the command line")]
    fn one_seed() {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        println!("{:?}", run(seed, true));
    }
}
