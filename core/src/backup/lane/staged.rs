//! A backup one stage after the other, for simulations: whatever needs the storage happens in
//! async code, and the threads run in between, with all they need at hand.
//!
//! The parts are those of a real backup; only how they are connected differs. For small trees.

use super::{
    super::{pipeline::Threads, shared::Lanes},
    *,
};
use crate::{id::SessionId, monitor::SilentMonitor, source::Source};

/// More packs than a simulated backup makes.
const PACKS_MAX: usize = 64;

/// Makes a snapshot of `source`.
pub(crate) async fn backup_in_stages(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
) -> Result<SessionId> {
    let plan = Plan { repository: repository.clone(), options: options.clone(), copy_of: None };
    let monitor: Arc<dyn Monitor> = Arc::new(SilentMonitor);
    let room = Room { finished: PACKS_MAX, packs: PACKS_MAX };
    let roots = source.roots();
    let (lane, parts) = Lane::begin_with(plan, &roots, room, &monitor).await?;
    let session = lane.session.clone();
    tokio::select! {
        biased;
        result = lane.stages(parts, source, options) => result,
        never = session.keep_alive() => match never {},
    }
}

impl Lane {
    async fn stages(
        self,
        mut parts: Parts,
        source: Arc<dyn Source>,
        options: &BackupOptions,
    ) -> Result<SessionId> {
        let Self { plan, session, shared, known, packs, .. } = self;
        let adopted = session.index().load(&known).await?;
        known.index_loaded(true);
        if let Some(feeder) = parts.parent.feeder.take() {
            // all pages fit into the channel
            feeder.join().await?;
        }
        let roots = source.roots();
        let lanes = Arc::new(Lanes::new(vec![shared.clone()], Arc::new(SilentMonitor)));
        let threads = Threads::start(vec![parts], source, options.workers, lanes)?;
        let threads = move || match threads.join().pop() {
            Some(Ok(LaneEnd { counts, table, packer })) => {
                packer.close_all()?;
                Ok((counts, table))
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::internal("a lane without a result")),
        };
        let joined = tasks::spawn_blocking("backup threads", threads).await;
        let (counts, table) = joined.map_err(|error| shared.take_failure().unwrap_or(error))?;
        let mut uploader = Uploader::new(plan.repository.clone(), session.id(), false);
        uploader.run(packs).await?;
        let adopted: Vec<IndexedPack> =
            adopted.into_iter().filter(|row| table.packs.contains(row.pack.id)).collect();
        let packs_adopted = adopted.len() as u64;
        let stored = uploader.finish(adopted).await?;
        let problems = shared.problems();
        let outcome = Outcome { table, stored, problems, copy_of: None, counts, packs_adopted };
        session.commit(&plan.repository, &roots, options, &outcome).await?;
        Ok(session.id())
    }
}
