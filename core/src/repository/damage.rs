//! What is known to be lost, and where its content was stored again since.
//!
//! A lost chunk comes back when a later run stores the same content: its id then stands in an
//! index segment with another pack. Whoever reads looks there, and only then reads the index.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{
    History, MetaListing, Overview, Repository,
    cache::Cache,
    commits::READS_AT_ONCE,
    layout::{self, MetaName},
};
use crate::{
    crypto::KeyRing,
    entry::PackRef,
    error::{Error, ErrorKind, Result},
    format::{
        damage::Damage,
        index::{self, IndexedPack},
        object::ObjectType,
        record,
    },
    id::{ChunkId, SessionId},
    packset::PackSet,
    runtime::random,
    target::{Payload, PutMode, SharedTarget},
    tasks,
};

/// Index segments read at once.
const SEGMENTS_AT_ONCE: usize = 8;

/// What is lost, and the index segments that may tell where its content is now.
#[derive(Debug, Default)]
pub(crate) struct KnownDamage {
    damage: Damage,
    packs: PackSet,
    chunks: BTreeSet<ChunkId>,
    indexes: Vec<(SessionId, u32)>,
    /// Read when somebody asks for the first lost chunk.
    places: OnceCell<HashMap<ChunkId, Vec<PackRef>>>,
}

impl KnownDamage {
    /// Of `damage`; `indexes` are all index segments that are listed.
    pub(crate) fn new(damage: Damage, indexes: Vec<(SessionId, u32)>) -> Self {
        let packs = damage.parts().map(|(pack, _)| pack).collect();
        let chunks = damage.parts().flat_map(|(_, part)| &part.chunks).copied().collect();
        Self { damage, packs, chunks, indexes, places: OnceCell::new() }
    }

    /// What is lost.
    pub(crate) fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Packs of which something is lost.
    pub(crate) fn packs(&self) -> &PackSet {
        &self.packs
    }

    /// True if nothing is lost.
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Other packs that, by the word of some index segment, hold a chunk that was lost.
    pub(super) async fn places_of(
        &self,
        chunk: &ChunkId,
        index: &IndexDoor<'_>,
    ) -> Result<Vec<PackRef>> {
        if !self.chunks.contains(chunk) {
            return Ok(Vec::new());
        }
        Ok(self.places(index).await?.get(chunk).cloned().unwrap_or_default())
    }

    /// Other packs that hold chunks which `references` would have in lost parts.
    pub(in crate::repository) async fn substitutes(
        &self,
        references: &PackSet,
        index: &IndexDoor<'_>,
    ) -> Result<PackSet> {
        let concerned = self.damage.parts().filter(|(pack, _)| references.contains(*pack));
        let chunks: BTreeSet<ChunkId> =
            concerned.flat_map(|(_, part)| &part.chunks).copied().collect();
        if chunks.is_empty() {
            return Ok(PackSet::default());
        }
        let places = self.places(index).await?;
        let found = chunks.iter().filter_map(|chunk| places.get(chunk)).flatten();
        Ok(found.map(|pack| pack.id).collect())
    }

    async fn places(&self, index: &IndexDoor<'_>) -> Result<&HashMap<ChunkId, Vec<PackRef>>> {
        self.places.get_or_try_init(|| self.find_places(index)).await
    }

    async fn find_places(&self, index: &IndexDoor<'_>) -> Result<HashMap<ChunkId, Vec<PackRef>>> {
        let mut places: HashMap<ChunkId, Vec<PackRef>> = HashMap::new();
        let segments = self.indexes.iter().copied();
        let reads = segments.map(|(session, counter)| index.rows(session, counter));
        tasks::each(reads, SEGMENTS_AT_ONCE, |rows| {
            for row in rows?.iter().filter(|row| !self.packs.contains(row.pack.id)) {
                let chunks = row.directory.segments.iter().flat_map(|segment| &segment.chunks);
                for (id, _) in chunks.filter(|(id, _)| self.chunks.contains(id)) {
                    let known = places.entry(*id).or_default();
                    if !known.contains(&row.pack) {
                        known.push(row.pack);
                    }
                }
            }
            Ok::<_, Error>(())
        })
        .await?;
        Ok(places)
    }
}

/// What reading index segments takes.
pub(super) struct IndexDoor<'a> {
    pub(super) target: &'a SharedTarget,
    pub(super) keys: &'a KeyRing,
    pub(super) cache: &'a Cache,
}

impl IndexDoor<'_> {
    /// The rows of one index segment; none if it cannot be read.
    async fn rows(&self, session: SessionId, counter: u32) -> Result<Vec<IndexedPack>> {
        let name = MetaName::Index(session, counter).to_string();
        let open = |bytes: &Bytes| {
            index::decode(&record::open(self.keys, ObjectType::IndexSegment, &name, bytes)?)
        };
        match self.cache.read(self.target, &name, open).await {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                tracing::warn!(%error, object = name, "index segment left out");
                Ok(Vec::new())
            }
            result => result,
        }
    }
}

impl Repository {
    /// Has this repository's readers and writers take `damage` for lost, too, as long as it is
    /// open: what is stored says nothing of it yet.
    pub(crate) fn suspect(&self, damage: &Damage) {
        self.packs().suspect(damage);
    }

    /// Writes down what is lost, for all readers and writers to come.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn record_damage(&self, damage: &Damage) -> Result<String> {
        let randomness = &*self.runtime().randomness;
        let name = MetaName::Damage(random(randomness)).to_string();
        let keys = self.keys();
        let sealed = record::seal(keys, ObjectType::Damage, &name, &damage.encode(), randomness)?;
        let sealed = Bytes::from(sealed);
        let payload = Payload::from(sealed.clone());
        self.target().put(&layout::key(&name)?, payload, PutMode::Create).await?;
        self.cache().put(&name, sealed).await;
        Ok(name)
    }

    /// Opens one record of what is lost.
    pub(crate) fn open_damage(&self, name: &str, bytes: &[u8]) -> Result<Damage> {
        Damage::decode(&record::open(self.keys(), ObjectType::Damage, name, bytes)?)
    }

    /// Reads what is known to be lost; readers of this repository avoid it from then on. Records
    /// that cannot be read are left out: who finds the damage again writes a new one.
    pub(super) async fn load_damage(&self, listing: &MetaListing) -> Result<Arc<KnownDamage>> {
        let names = listing.names().filter(|name| matches!(name, MetaName::Damage(_)));
        let names: Vec<String> = names.map(|name| name.to_string()).collect();
        let reads = names.into_iter().map(|name| async move {
            let open = |bytes: &Bytes| self.open_damage(&name, bytes);
            let read = self.cache().read(self.target(), &name, open).await;
            (name, read)
        });
        let mut damage = Damage::default();
        tasks::each(reads, READS_AT_ONCE, |(name, read)| {
            match read {
                Ok(more) => damage.union(&more),
                Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                    tracing::warn!(%error, object = name, "record of damage left out");
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })
        .await?;
        Ok(self.packs().avoid(damage, listing.indexes().collect()))
    }

    /// Adds the chunks that, by the index, lay in the parts that `damage` names.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn add_indexed_chunks(
        &self,
        overview: &Overview,
        damage: &mut Damage,
    ) -> Result<()> {
        let door = IndexDoor { target: self.target(), keys: self.keys(), cache: self.cache() };
        let segments = self.counting_indexes(overview).await?.into_iter();
        let reads = segments.map(|(session, counter)| door.rows(session, counter));
        tasks::each(reads, SEGMENTS_AT_ONCE, |rows| {
            for row in rows? {
                let pack = row.pack.id;
                for (number, segment) in (0u32..).zip(&row.directory.segments) {
                    if damage.covers(pack, number) {
                        damage.add_chunks(pack, segment.chunks.iter().map(|(id, _)| *id));
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// Every pack that live snapshots need: those that they refer to, where rewritten ones went,
    /// and those that hold again what was lost.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn needed_packs(&self, history: &History) -> Result<PackSet> {
        let references = history.references();
        let mut needed = history.forwarding.resolve(&references);
        if !history.lost.is_empty() {
            let mut concerned = references;
            concerned.union(&needed);
            needed.union(&self.packs().substitutes(&concerned).await?);
        }
        Ok(needed)
    }
}
