//! Bringing forgotten snapshots back, as long as their data is stored.
//!
//! A tombstone is never removed: a late writer of the forgotten snapshot must find it. What comes
//! back is a new snapshot with the table, the times and the labels of the forgotten one, made by a
//! session like any other: announced before it looks at anything, so that a prune that begins
//! meanwhile waits for it, and refused if a prune has already given up something that it needs.

use std::collections::BTreeSet;

use futures::TryStreamExt;

use super::label;
use crate::{
    entry::{ChunkRef, Content, Entry, Piece},
    error::{Error, ErrorKind, Result},
    format::{
        commit::{Commit, Original},
        label::Label,
    },
    id::{ClientId, SessionId},
    monitor::Problem,
    packset::PackSet,
    repository::{
        Announcement, History, LoadedCommit, Overview, Repository, SnapshotList,
        layout::{self, MetaName},
        pieces_in,
    },
    target::TargetExt,
    tasks,
};

/// Listings at once.
const LISTINGS_AT_ONCE: usize = 8;
/// Commits read at once.
const READS_AT_ONCE: usize = 16;

/// Who brings snapshots back.
#[derive(Debug, Clone)]
pub struct UndoOptions {
    /// The client.
    pub client: ClientId,
    /// Its host, to be recorded while it is at work.
    pub host: String,
}

/// A snapshot that was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undone {
    /// The forgotten snapshot.
    pub forgotten: SessionId,
    /// The one that stands for it now.
    pub snapshot: SessionId,
    /// False if an earlier run had brought it back already.
    pub is_new: bool,
}

/// The forgotten snapshots whose commits can be read, oldest first, with their labels; those that
/// were brought back are among them.
///
/// # Errors
/// What the target reports.
pub async fn forgotten(repository: &Repository) -> Result<SnapshotList> {
    let listing = repository.list_meta().await?;
    let history = repository.load_history(&listing).await?;
    let mut found = History::default();
    let listing = &listing;
    let reads = history.tombstones.iter().copied().map(|id| async move {
        let loaded = repository.load_commit(id).await;
        let label = match &loaded {
            Ok(loaded) => Some(label::current(repository, listing, &loaded.commit).await?),
            Err(_) => None,
        };
        Ok((id, loaded, label))
    });
    tasks::each(reads, READS_AT_ONCE, |read: Result<_>| {
        let (id, loaded, label) = read?;
        found.labels.extend(label.map(|label| (id, label)));
        match loaded {
            Ok(loaded) => found.commits.push(loaded),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Damaged => found.damaged.push(Problem {
                item: MetaName::Commit(id).to_string(),
                message: error.to_string(),
                is_error: true,
            }),
            Err(error) => return Err(error),
        }
        Ok(())
    })
    .await?;
    Ok(SnapshotList::new(&found))
}

/// Brings the forgotten snapshot `id` back as a new one.
///
/// # Errors
/// `NotFound` if it was not forgotten, or if some of its data is gone or about to go; nothing was
/// done then.
pub async fn undo(repository: &Repository, id: SessionId, options: &UndoOptions) -> Result<Undone> {
    let announcement = Announcement::make(repository, options.client, &options.host).await?;
    let work = async {
        match prepare(repository, id, announcement.session(), options).await? {
            Found::AlreadyBack(snapshot) => Ok(Undone { forgotten: id, snapshot, is_new: false }),
            Found::Ready(ready) => bring_back(repository, id, *ready, &announcement).await,
        }
    };
    let result = tokio::select! {
        biased;
        result = work => result,
        never = announcement.keep_alive() => match never {},
    };
    // resolved, given up, or never begun: nobody need wait for it
    announcement.withdraw().await;
    result
}

/// What there is of a forgotten snapshot.
enum Found {
    /// An earlier run has brought it back as this one.
    AlreadyBack(SessionId),
    /// All of it, and nothing is done yet.
    Ready(Box<Ready>),
}

/// All that it takes to bring a snapshot back.
struct Ready {
    commit: Commit,
    references: PackSet,
    said: Label,
}

async fn bring_back(
    repository: &Repository,
    id: SessionId,
    ready: Ready,
    announcement: &Announcement,
) -> Result<Undone> {
    let session = announcement.session();
    let Ready { mut commit, references, said } = ready;
    if let Err(error) = repository.create_commit(&mut commit, &references).await {
        // it may still arrive: the session must end before its announcement goes
        repository.give_up(session).await?;
        return Err(error);
    }
    if said.is_held {
        label::write(repository, &Label { session, ..said }, 0).await?;
    }
    Ok(Undone { forgotten: id, snapshot: session, is_new: true })
}

async fn prepare(
    repository: &Repository,
    id: SessionId,
    session: SessionId,
    options: &UndoOptions,
) -> Result<Found> {
    let overview = repository.overview().await?;
    let history = &overview.history;
    if !history.tombstones.contains(&id) {
        return Err(Error::new(ErrorKind::NotFound, "no snapshot of this id was forgotten")
            .on(id)
            .hint("`strongroom snapshots --forgotten` lists those that were"));
    }
    let loaded = repository.load_commit(id).await?;
    // what was a copy already stays one of its first original
    let itself = Original { repository: repository.id(), snapshot: id };
    let original = Some(loaded.commit.original.unwrap_or(itself));
    let mut live = history.snapshots().map(|loaded| &loaded.commit);
    if let Some(copy) = live.find(|commit| commit.original == original) {
        return Ok(Found::AlreadyBack(copy.session));
    }
    expect_data(repository, &overview, &loaded).await?;
    let own = history.commits.iter().filter(|one| one.commit.client == options.client);
    let sequence = own.map(|one| one.commit.sequence).max().unwrap_or(0) + 1;
    let said = label::current(repository, &overview.listing, &loaded.commit).await?;
    let commit = Commit {
        session,
        client: options.client,
        sequence,
        heads: history.heads(),
        indexes: Vec::new(),
        packs: Vec::new(),
        generation: overview.view.generation(),
        committed: repository.runtime().clock.now(),
        tags: said.tags.clone(),
        added_bytes: 0,
        original,
        ..loaded.commit.clone()
    };
    Ok(Found::Ready(Box::new(Ready { commit, references: loaded.references, said })))
}

/// Fails unless everything that the snapshot needs is stored and will stay.
async fn expect_data(
    repository: &Repository,
    overview: &Overview,
    loaded: &LoadedCommit,
) -> Result<()> {
    let id = loaded.commit.session;
    if !overview.view.may_refer_to(&loaded.references) {
        return Err(gone(id, "a prune is removing its data"));
    }
    let needed = overview.history.forwarding.resolve(&loaded.references);
    let stored = stored_packs(repository, &needed).await?;
    if let Some(missing) = needed.first_missing_in(&stored) {
        return Err(gone(id, "a prune has removed its data").because(format!("packs/{missing}")));
    }
    if repository.packs().has_moved(&loaded.references) {
        expect_chunks(repository, loaded).await.map_err(|error| match error.kind() {
            ErrorKind::Damaged => gone(id, "a prune has removed some of its data").because(error),
            _ => error,
        })?;
    }
    Ok(())
}

fn gone(id: SessionId, why: &str) -> Error {
    Error::new(ErrorKind::NotFound, why).on(id).hint("it cannot be brought back any more")
}

/// Which packs there are of the sessions that `needed` names.
async fn stored_packs(repository: &Repository, needed: &PackSet) -> Result<PackSet> {
    let sessions: BTreeSet<SessionId> = needed.sessions().collect();
    let list = |session: SessionId| async move {
        let prefix = layout::prefix(&format!("{}/{session}", layout::PACKS))?;
        repository.target().list_all(&prefix).await.map_err(Error::from)
    };
    let mut stored = PackSet::default();
    tasks::each(sessions.into_iter().map(list), LISTINGS_AT_ONCE, |objects| {
        let objects = objects?;
        let packs = objects.iter().filter_map(|object| layout::pack_of(&object.key));
        packs.for_each(|pack| stored.insert(pack));
        Ok::<_, Error>(())
    })
    .await?;
    Ok(stored)
}

/// Packs that were rewritten kept only what was live then: looks for every chunk.
async fn expect_chunks(repository: &Repository, loaded: &LoadedCommit) -> Result<()> {
    let Some(root) = &loaded.commit.root else { return Ok(()) };
    let mut pages = repository.table_as_written(root).pages();
    while let Some(loaded) = pages.try_next().await? {
        if !repository.packs().has_moved(&loaded.row.packs) {
            continue;
        }
        for entry in loaded.page.groups.iter().flat_map(|group| &group.entries) {
            expect_content(repository, entry).await?;
        }
    }
    Ok(())
}

async fn expect_content(repository: &Repository, entry: &Entry) -> Result<()> {
    let reader = repository.packs();
    match &entry.content {
        Content::Inline(pieces) => expect_pieces(repository, pieces).await,
        Content::Listed { lists, .. } => {
            for list in lists {
                expect_pieces(repository, &pieces_in(reader, list).await?).await?;
            }
            Ok(())
        }
    }
}

async fn expect_pieces(repository: &Repository, pieces: &[Piece]) -> Result<()> {
    let chunks = pieces.iter().filter_map(|piece| match piece {
        Piece::Chunk(chunk) => Some(chunk),
        _ => None,
    });
    for chunk in chunks {
        let _: ChunkRef = repository.packs().locate(chunk).await?;
    }
    Ok(())
}
