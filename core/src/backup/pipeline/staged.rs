//! A backup one stage after the other, for simulations: whatever needs the storage happens in
//! async code, and the threads run in between, with all they need at hand.
//!
//! The parts are those of a real backup; only how they are connected differs. For small trees.

use super::*;
use crate::{backup::packer::FinishedPack, id::SessionId, monitor::SilentMonitor};

/// More packs than a simulated backup makes.
const PACKS_MAX: usize = 64;

/// Makes a snapshot of `source`.
pub(crate) async fn backup_in_stages(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
) -> Result<SessionId> {
    let session = Session::begin(repository, &source.roots(), options).await?;
    let outcome = tokio::select! {
        biased;
        outcome = run_stages(repository, source.clone(), options, &session) => outcome?,
        never = session.keep_alive() => match never {},
    };
    session.commit(repository, &source.roots(), options, &outcome).await?;
    Ok(session.id())
}

async fn run_stages(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
    session: &Session,
) -> Result<Outcome> {
    let shared = Arc::new(Shared::new(Arc::new(SilentMonitor)));
    let known = Arc::new(Known::new());
    let adopted = session.index().load(&known).await?;
    known.index_loaded(true);
    let (finished, packs) = mpsc::channel(PACKS_MAX);
    let parts = staged_parts(repository, options, session, &shared, &known, finished);
    let mut parent = Parent::open(repository, session, &shared).await?;
    if let Some(feeder) = parent._feeder.take() {
        // all pages fit into the channel
        feeder.join().await?;
    }
    let threads = Threads::start(parts, source, options.workers, parent)?;
    let joined = tasks::spawn_blocking("backup threads", move || threads.join()).await;
    let (counts, table) = joined.map_err(|error| shared.take_failure().unwrap_or(error))?;
    let mut uploader = Uploader::new(repository.clone(), session.id(), false);
    uploader.run(packs).await?;
    let adopted: Vec<IndexedPack> =
        adopted.into_iter().filter(|row| table.packs.contains(row.pack.id)).collect();
    let packs_adopted = adopted.len() as u64;
    let stored = uploader.finish(adopted).await?;
    let problems = shared.problems();
    Ok(Outcome { table, stored, problems, counts, packs_adopted, shared })
}

fn staged_parts(
    repository: &Repository,
    options: &BackupOptions,
    session: &Session,
    shared: &Arc<Shared>,
    known: &Arc<Known>,
    finished: mpsc::Sender<FinishedPack>,
) -> Parts {
    let pack_bytes = repository.settings().pack_target_bytes;
    let packer = Packer::new(
        repository.keys().clone(),
        repository.runtime().randomness.clone(),
        session.id(),
        u64::from(pack_bytes),
        known.clone(),
        ArenaPool::new(PACKS_MAX, pack_bytes as usize),
        finished,
    );
    Parts {
        shared: shared.clone(),
        known: known.clone(),
        packer: Arc::new(packer),
        repository: repository.clone(),
        compression: options.compression.unwrap_or(repository.settings().compression),
    }
}
