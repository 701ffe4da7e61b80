//! The small objects: descriptor, key slots, announcements of sessions, commits, index segments.
//! Each is read whole and opened; what a commit says about the others is compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::{Run, findings::reason};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        collector::CollectorHead,
        commit::ObjectHash,
        descriptor,
        forwarding::Forwarding,
        index::{self, IndexedPack},
        object::ObjectType,
        pack::pack_object_name,
        record,
        session::SessionRecord,
        slot,
    },
    id::{PackId, SessionId},
    packset::PackSet,
    repository::{
        LoadedCommit, heal,
        layout::{self, MetaName},
    },
    target::{ObjectKey, ObjectMeta, TargetErrorKind},
    tasks,
};

/// Objects read at once.
const READS_AT_ONCE: usize = 8;
/// No small object is larger; what claims to be is not read.
const SMALL_BYTES_MAX: u64 = 1 << 30;
/// Missing packs named for one commit; a list that names more is not worth reading on.
const MISSING_NAMED_MAX: usize = 1_000;

/// All commits that can be read, and what they say about packs.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// By session, forgotten ones included.
    pub(super) loaded: BTreeMap<SessionId, LoadedCommit>,
    /// Sessions that were forgotten.
    pub(super) forgotten: BTreeSet<SessionId>,
    /// Those of them whose commits could not be read then.
    pub(super) forgotten_unread: BTreeSet<SessionId>,
    /// Where rewritten packs went.
    pub(super) forwarding: Arc<Forwarding>,
    /// The newest collector head.
    pub(super) head: CollectorHead,
    /// BLAKE3 of packs, where a commit or an index segment tells it.
    pub(super) packs: BTreeMap<PackId, ObjectHash>,
}

impl Commits {
    /// Commits that were not forgotten.
    pub(super) fn live(&self) -> impl Iterator<Item = (&SessionId, &LoadedCommit)> {
        self.loaded.iter().filter(|(session, _)| !self.forgotten.contains(session))
    }

    /// Every pack that some live commit needs or wrote, where it lies now.
    pub(super) fn referred_packs(&self) -> PackSet {
        let mut all = PackSet::default();
        self.live().for_each(|(_, loaded)| all.union(&loaded.references));
        self.forwarding.resolve(&all)
    }

    /// True if index rows of this pack count.
    pub(super) fn is_usable(&self, pack: PackId) -> bool {
        !self.head.packs.contains(pack) && !self.head.gone.contains(pack)
    }

    /// True if the index segments of this session count.
    pub(super) fn counts_index_of(&self, session: SessionId) -> bool {
        let is_base = self.head.base == Some(session);
        self.loaded.get(&session).is_some_and(|loaded| {
            let is_young = loaded.commit.generation >= self.head.base_generation;
            loaded.is_made() && (is_base || is_young)
        })
    }
}

impl Run<'_> {
    /// Descriptor and key slots.
    pub(super) async fn check_keys(&mut self) -> Result<()> {
        match self.inventory.descriptor.clone() {
            None => self.findings.object(layout::DESCRIPTOR, "is missing"),
            Some(object) => {
                if let Some(bytes) = self.read_small(&object).await? {
                    let settings = descriptor::open_settings(self.repository.keys(), &bytes);
                    let result = settings.and_then(|settings| self.compare_settings(&settings));
                    self.note(layout::DESCRIPTOR, result)?;
                }
            }
        }
        self.check_slots().await?;
        for (epoch, _) in self.repository.keys().masters().iter().filter(|(epoch, _)| *epoch > 0) {
            let name = MetaName::Epoch(*epoch);
            if !self.inventory.others.contains_key(&name) {
                let why = "is missing: a rotation was interrupted; `key rotate` finishes it";
                self.findings.object(name.to_string(), why);
            }
        }
        Ok(())
    }

    /// Slots come and go when people change them, all of them at once when the keys are rotated:
    /// that is no damage.
    async fn check_slots(&mut self) -> Result<()> {
        let (mut usable, mut gone) = (0, Vec::new());
        for (key, object) in self.inventory.slots.clone() {
            let bytes = match super::read_object(&*self.target, &object, SMALL_BYTES_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    gone.push(key);
                    continue;
                }
                Err(error) => {
                    self.note(key.as_str(), Err(error))?;
                    continue;
                }
            };
            self.report.objects += 1;
            match slot::inspect(&bytes) {
                Ok(info) if info.repository == self.repository.id() => usable += 1,
                // left by an interrupted `init` that another one overtook
                Ok(_) => self.report.unreferenced += 1,
                Err(error) => self.note(key.as_str(), Err(error))?,
            }
        }
        if usable == 0 || !gone.is_empty() {
            let now = self.repository.list_slots().await?;
            for (_, object) in now.objects.iter().filter(|(_, object)| gone.contains(&object.key)) {
                self.findings.object(object.key.as_str(), "is listed, and not there");
            }
            let is_new = |key: &ObjectKey| !self.inventory.slots.contains_key(key);
            let slots = now.objects.iter().filter(|(name, _)| matches!(name, MetaName::Slot(_)));
            usable += slots.filter(|(_, object)| is_new(&object.key)).count();
        }
        if usable == 0 {
            self.findings.object(layout::SLOTS, "no key slot is left that opens the repository");
        }
        Ok(())
    }

    fn compare_settings(&self, settings: &descriptor::Settings) -> Result<()> {
        if settings == self.repository.settings() {
            return Ok(());
        }
        Err(Error::damaged(layout::DESCRIPTOR, "has other settings than when it was opened"))
    }

    /// All commits.
    pub(super) async fn check_commits(&mut self) -> Result<Commits> {
        let mut commits = Commits::default();
        let listed: Vec<(SessionId, ObjectMeta)> =
            self.inventory.commits.iter().map(|(id, object)| (*id, object.clone())).collect();
        for (session, object) in listed {
            self.check_cancelled()?;
            let Some(bytes) = self.read_small(&object).await? else {
                self.findings.object_of(object.key.as_str(), session, "cannot be read".to_owned());
                continue;
            };
            match self.repository.open_commit(session, &bytes) {
                Ok(loaded) => {
                    let packs = loaded.commit.packs.iter();
                    commits.packs.extend(
                        packs.map(|pack| (PackId { session, counter: pack.counter }, pack.hash)),
                    );
                    commits.loaded.insert(session, loaded);
                }
                Err(error) => {
                    self.findings.object_of(object.key.as_str(), session, reason(error)?);
                }
            }
        }
        self.check_changes(&mut commits).await?;
        for session in &commits.forgotten_unread {
            // nobody needs to know any more what it said
            self.findings.forgive_object(&MetaName::Commit(*session).to_string());
        }
        self.check_pin(&commits);
        self.check_history(&commits).await?;
        Ok(commits)
    }

    /// Announcements of sessions.
    pub(super) async fn check_sessions(&mut self) -> Result<()> {
        for (session, object) in self.inventory.sessions.clone() {
            if !self.inventory.commits.contains_key(&session) {
                self.report.unreferenced += 1;
            }
            let Some(bytes) = self.read_small_or_gone(&object).await? else { continue };
            let keys = self.repository.keys();
            let name = object.key.as_str();
            let opened = record::open(keys, ObjectType::Session, name, &bytes)
                .and_then(|content| SessionRecord::decode(&content))
                .and_then(|record| match record.session == session {
                    true => Ok(()),
                    false => Err(Error::damaged(name, "belongs to another session")),
                });
            self.note(name, opened)?;
        }
        Ok(())
    }

    /// Every object that a commit names must be there, with the size that it says.
    pub(super) async fn check_named(&mut self, commits: &Commits) -> Result<()> {
        for (session, loaded) in commits.live() {
            let counts = commits.counts_index_of(*session);
            for written in loaded.commit.indexes.iter().filter(|_| counts) {
                let name = MetaName::Index(*session, written.counter).to_string();
                let size = match self.inventory.indexes.get(&(*session, written.counter)) {
                    Some(object) => Some(object.size_bytes),
                    None => self.size_of(&layout::key(&name)?).await?,
                };
                self.lost_indexes.extend(size.is_none().then(|| name.clone()));
                self.compare_size(&name, size, written.size_bytes);
            }
            self.heal_sizes(*session, loaded).await?;
            self.check_references(&commits.forwarding.resolve(&loaded.references)).await?;
            for written in &loaded.commit.packs {
                let pack = PackId { session: *session, counter: written.counter };
                // a missing one was named above
                if let Some(size) = self.inventory.packs.get(&pack).copied() {
                    self.compare_size(&pack_object_name(pack), Some(size), written.size_bytes);
                }
            }
        }
        Ok(())
    }

    /// Has packs healed that do not have the size that their commit says.
    async fn heal_sizes(&mut self, session: SessionId, loaded: &LoadedCommit) -> Result<()> {
        for written in &loaded.commit.packs {
            let pack = PackId { session, counter: written.counter };
            let found = self.inventory.packs.get(&pack).copied();
            if found.is_some_and(|size| size != written.size_bytes) {
                self.heal_pack(pack).await?;
            }
        }
        Ok(())
    }

    /// Has a pack healed; the size that it has now, if it was.
    async fn heal_pack(&mut self, pack: PackId) -> Result<Option<u64>> {
        let key = layout::pack_key(pack)?;
        if !heal(&*self.target, &key).await {
            return Ok(None);
        }
        let size = self.size_of(&key).await?;
        self.inventory.packs.extend(size.map(|size| (pack, size)));
        Ok(size)
    }

    fn compare_size(&mut self, name: &str, found: Option<u64>, expected: u64) {
        match found {
            None => self.findings.object(name, "is missing"),
            Some(found) if found != expected => {
                let why = format!("has {found} bytes instead of {expected}");
                self.findings.object(name, why);
            }
            Some(_) => {}
        }
    }

    /// Every pack that the snapshot needs must be there.
    async fn check_references(&mut self, needed: &PackSet) -> Result<()> {
        let listed = &self.inventory.packs;
        let missing: BTreeSet<PackId> = needed
            .iter()
            .filter(|pack| !listed.contains_key(pack))
            .take(MISSING_NAMED_MAX)
            .collect();
        for pack in missing {
            // may have been stored after packs were listed and before commits were
            match self.size_of(&layout::pack_key(pack)?).await? {
                Some(size) => drop(self.inventory.packs.insert(pack, size)),
                None if self.heal_pack(pack).await?.is_some() => {}
                None => self.directories.add_missing(pack, &mut self.findings),
            }
        }
        Ok(())
    }

    /// Reads every index segment.
    pub(super) fn read_indexes(
        &self,
    ) -> impl Stream<Item = ((SessionId, u32), ObjectMeta, Result<Bytes>)> + Send + Unpin + 'static
    {
        let target = self.target.clone();
        let listed: Vec<_> =
            self.inventory.indexes.iter().map(|(id, object)| (*id, object.clone())).collect();
        let reads = stream::iter(listed).map(move |(id, object)| {
            let target = target.clone();
            async move {
                let bytes = super::read_object(&*target, &object, SMALL_BYTES_MAX).await;
                (id, object, bytes)
            }
        });
        tasks::ahead(reads, READS_AT_ONCE)
    }

    /// The rows of an index segment as read; `None` if that is a finding.
    pub(super) fn open_index(
        &mut self,
        object: &ObjectMeta,
        read: Result<Bytes>,
        expected: Option<ObjectHash>,
    ) -> Result<Option<Vec<IndexedPack>>> {
        let name = object.key.as_str();
        let keys = self.repository.keys();
        let opened = read.and_then(|bytes| {
            self.report.objects += 1;
            let rows = index::decode(&record::open(keys, ObjectType::IndexSegment, name, &bytes)?)?;
            match expected.is_none_or(|hash| hash == *blake3::hash(&bytes).as_bytes()) {
                true => Ok(rows),
                false => Err(Error::damaged(name, "is not the object that its commit names")),
            }
        });
        match opened {
            Ok(rows) => Ok(Some(rows)),
            Err(error) => self.note(name, Err(error)).map(|()| None),
        }
    }

    /// A commit that later ones were made after must still be there. Each names by hash those
    /// that nobody had seen before it.
    async fn check_history(&mut self, commits: &Commits) -> Result<()> {
        let known: BTreeSet<ObjectHash> =
            commits.loaded.values().map(|loaded| loaded.hash).collect();
        let heads = commits.loaded.values().flat_map(|loaded| &loaded.commit.heads);
        let gone: BTreeSet<&ObjectHash> = heads.filter(|hash| !known.contains(*hash)).collect();
        let unreadable = self.inventory.commits.len() - commits.loaded.len();
        let lost = self.lost_commits().await?;
        for session in &lost {
            let why = "is missing: what its session stored is there, but neither the commit nor \
                       the announcement of the session";
            self.findings.object_of(&MetaName::Commit(*session).to_string(), *session, why.into());
        }
        if gone.len() > unreadable + lost.len() {
            let count = gone.len() - unreadable - lost.len();
            let why = format!("{count} commits that later ones were made after are missing");
            self.findings.object("meta/snapshots", why);
        }
        Ok(())
    }

    /// Sessions that stored something, but have neither commit nor announcement.
    async fn lost_commits(&self) -> Result<BTreeSet<SessionId>> {
        let inventory = &self.inventory;
        let suspects: BTreeSet<SessionId> = inventory
            .writers()
            .filter(|id| {
                !inventory.commits.contains_key(id) && !inventory.sessions.contains_key(id)
            })
            .collect();
        let mut lost = BTreeSet::new();
        for session in suspects {
            // may have been committed while the target was listed
            let commit = layout::key(&MetaName::Commit(session).to_string())?;
            let announcement = layout::key(&MetaName::Session(session).to_string())?;
            if self.size_of(&commit).await?.is_none()
                && self.size_of(&announcement).await?.is_none()
            {
                lost.insert(session);
            }
        }
        Ok(lost)
    }

    /// Size of an object; `None` if it is missing.
    async fn size_of(&self, key: &ObjectKey) -> Result<Option<u64>> {
        match self.target.head(key).await {
            Ok(object) => Ok(Some(object.size_bytes)),
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All bytes of a small object; `None` if that is a finding.
    async fn read_small(&mut self, object: &ObjectMeta) -> Result<Option<Bytes>> {
        let read = super::read_object(&*self.target, object, SMALL_BYTES_MAX).await;
        self.report.objects += 1;
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => self.note(object.key.as_str(), Err(error)).map(|()| None),
        }
    }

    /// As [`Self::read_small`], for objects that their writers remove.
    pub(super) async fn read_small_or_gone(
        &mut self,
        object: &ObjectMeta,
    ) -> Result<Option<Bytes>> {
        match super::read_object(&*self.target, object, SMALL_BYTES_MAX).await {
            Ok(bytes) => {
                self.report.objects += 1;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => self.note(object.key.as_str(), Err(error)).map(|()| None),
        }
    }
}
