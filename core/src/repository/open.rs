//! Creating and opening.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    Cache, Credential, Inner, KeyAgent, Pins, Repository, Storage, Unlock,
    layout::{self, MetaName},
    listing::{MetaListing, RememberedSlot},
    packs::PackReader,
    protection::{Guarded, is_curable, is_protected, read_healing},
    unlock::{Unlocked, highest, secret_of, unlock, unlock_remembered},
};
use crate::{
    crypto::{KdfCost, KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        descriptor::{self, DescriptorHead, Settings},
        slot::{self, RecoveryKey, SlotNote, SlotSecret},
    },
    id::{RepositoryId, SlotId},
    runtime::{Runtime, Timestamp, random},
    target::{ObjectKey, Payload, PutMode, SharedTarget, TargetErrorKind, TargetExt},
};

/// How a new repository is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Cost of deriving a key from the password.
    pub kdf: KdfCost,
    /// Chunking, packs, compression. The time of creation is set by `init`.
    pub settings: Settings,
    /// The storage is known to refuse a create of what exists (see [`crate::target::probe`]).
    /// Otherwise `init` looks first, for one more request, so that no repository is overwritten
    /// where conditions are ignored.
    pub trusts_create: bool,
    /// Whether parity and copies stand beside the objects; by default, where the storage does
    /// not code its data itself ([`crate::target::Capabilities::codes_data`]).
    pub parity: Option<bool>,
}

impl Default for InitOptions {
    fn default() -> Self {
        let settings = Settings::new(Timestamp::default());
        Self { kdf: KdfCost::default(), settings, trusts_create: false, parity: None }
    }
}

impl Repository {
    /// Creates a repository that a password opens: see [`Self::init_with`].
    ///
    /// # Errors
    /// Those of [`Self::init_with`].
    pub async fn init(
        storage: impl Into<Storage>,
        runtime: Runtime,
        password: &Zeroizing<Vec<u8>>,
        options: &InitOptions,
    ) -> Result<(Self, RecoveryKey)> {
        let unlock = Unlock::from(&Credential::Password(password.clone()));
        Self::init_with(storage, runtime, &unlock, "", options).await
    }

    /// Creates a repository in a place that has none, with key slots for the credential in
    /// `unlock` and for a recovery key, both labelled `label`. Returns it with its recovery key,
    /// which is shown once and never stored.
    ///
    /// Key slots are written first and the descriptor last, by one create: an interrupted `init`
    /// leaves nothing that looks like a repository, and of two at once one wins. Three requests,
    /// or four: see [`InitOptions::trusts_create`].
    ///
    /// # Errors
    /// `AlreadyExists` if there is one, `Invalid` for no credential, an empty password, or
    /// settings out of bounds, and what the target reports.
    pub async fn init_with(
        storage: impl Into<Storage>,
        runtime: Runtime,
        unlock: &Unlock,
        label: &str,
        options: &InitOptions,
    ) -> Result<(Self, RecoveryKey)> {
        let Some(credential) = &unlock.credential else {
            return Err(Error::new(ErrorKind::Invalid, "a repository needs a credential"));
        };
        credential.check()?;
        options.kdf.check()?;
        let Storage { target, cache, pins } = storage.into();
        let cache = Cache::new(cache);
        let has_parity = match options.parity {
            Some(has_parity) => has_parity,
            None => !target.capabilities().await?.codes_data,
        };
        let guarded = Guarded::new(target, has_parity)?;
        let target = guarded.target.clone();
        if !options.trusts_create && target.exists(&layout::key(layout::DESCRIPTOR)?).await? {
            return Err(exists(&target));
        }
        let randomness = &*runtime.randomness;
        let repository = RepositoryId(random(randomness));
        let keys = KeyRing::new(repository, vec![(0, MasterKey::generate(randomness))])?;
        let recovery = RecoveryKey::generate(randomness);
        let note = SlotNote { created: runtime.clock.now(), label: label.to_owned() };
        let mut slots = Vec::new();
        for secret in [secret_of(credential), SlotSecret::Recovery(&recovery)] {
            let id = SlotId(random(randomness));
            let name = MetaName::Slot(id.0).to_string();
            let sealed = slot::seal_noted(&keys, &name, &secret, &options.kdf, &note, randomness)?;
            let sealed = Bytes::from(sealed);
            let payload = Payload::from(sealed.clone());
            target.put(&layout::key(&name)?, payload, PutMode::Create).await?;
            slots.push((id, sealed));
        }
        let settings = Settings { created: note.created, has_parity, ..options.settings.clone() };
        let sealed = Bytes::from(descriptor::seal(&keys, &settings, randomness)?);
        let payload = Payload::from(sealed.clone());
        match target.put(&layout::key(layout::DESCRIPTOR)?, payload, PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {
                withdraw(&target, slots.iter().map(|(id, _)| *id)).await;
                return Err(exists(&target));
            }
            Err(error) => return Err(error.into()),
        }
        cache.keep(|_| false).await;
        let (id, slot) = slots.swap_remove(0);
        let unlocked = Unlocked { id, slot, keys, epoch: None };
        remember(&cache, &sealed, &unlocked).await;
        let place = Place { cache, pins, runtime, agent: unlock.agent.clone() };
        Ok((place.assemble(guarded, Opened { unlocked, settings, is_remembered: false }), recovery))
    }

    /// Which repository is at `target`; needs no key.
    ///
    /// # Errors
    /// `NoRepository`, `Unsupported` (newer format), `Damaged`, or the target's.
    pub async fn id_at(target: &SharedTarget) -> Result<RepositoryId> {
        let error = match read_descriptor(target).await {
            Ok((head, _)) => return Ok(head.repository),
            Err(error) if may_have_copies(target, &error).await => error,
            Err(error) => return Err(error),
        };
        let guarded = Guarded::new(target.clone(), true)?;
        read_descriptor(&guarded.target).await.map(|(head, _)| head.repository).map_err(|_| error)
    }

    /// Opens the repository at `target`.
    ///
    /// # Errors
    /// Those of [`Self::unlock`].
    pub async fn open(
        storage: impl Into<Storage>,
        runtime: Runtime,
        credential: &Credential,
    ) -> Result<Self> {
        Self::unlock(storage, runtime, &Unlock::from(credential)).await
    }

    /// Opens the repository at `target` with a credential, or with what an agent remembers.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, `Unsupported` (newer format), `Damaged`, or the target's.
    pub async fn unlock(
        storage: impl Into<Storage>,
        runtime: Runtime,
        with: &Unlock,
    ) -> Result<Self> {
        let Storage { target, cache, pins } = storage.into();
        let cache = Cache::new(cache);
        let place = Place { cache, pins, runtime, agent: with.agent.clone() };
        if let Some(opened) = place.open_remembered(with).await {
            let guarded = Guarded::new(target, opened.settings.has_parity)?;
            return Ok(place.assemble(guarded, opened));
        }
        // whether there are copies is known only once the settings were read: what cannot be
        // opened without them is tried with them
        let opened = match place.open_stored(&target, with).await {
            Err(error) if may_have_copies(&target, &error).await => {
                let guarded = Guarded::new(target.clone(), true)?;
                place.open_stored(&guarded.target, with).await?
            }
            outcome => outcome?,
        };
        let guarded = Guarded::new(target, opened.settings.has_parity)?;
        Ok(place.assemble(guarded, opened))
    }
}

/// What belongs to a repository beside its target, before it is open.
struct Place {
    cache: Cache,
    pins: Pins,
    runtime: Runtime,
    agent: Option<Arc<dyn KeyAgent>>,
}

/// What opening found out.
struct Opened {
    unlocked: Unlocked,
    settings: Settings,
    is_remembered: bool,
}

impl Place {
    fn assemble(self, guarded: Guarded, opened: Opened) -> Repository {
        let Self { cache, pins, runtime, agent } = self;
        let Opened { unlocked, settings, is_remembered } = opened;
        let Unlocked { id: slot, keys, .. } = unlocked;
        let packs = PackReader::new(guarded.target.clone(), keys.clone(), cache.clone());
        let packs = Arc::new(packs);
        let remembered_slot = RememberedSlot::new(is_remembered.then_some(slot));
        Inner { guarded, runtime, keys, settings, packs, cache, pins, remembered_slot, slot, agent }
            .into_repository()
    }

    /// Opens what is stored, and remembers it.
    async fn open_stored(&self, target: &SharedTarget, with: &Unlock) -> Result<Opened> {
        let (head, sealed) = read_descriptor(target).await?;
        let slots = MetaListing::of(target, layout::SLOTS).await?;
        let randomness = &*self.runtime.randomness;
        let unlocked = unlock(target, &slots, head.repository, with, randomness).await?;
        let (settings, sealed) = match descriptor::open_settings(&unlocked.keys, &sealed) {
            Ok(settings) => (settings, sealed),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let open = |sealed: &Bytes| descriptor::open_settings(&unlocked.keys, sealed);
                read_healing(&**target, &layout::key(layout::DESCRIPTOR)?, open).await?
            }
            Err(error) => return Err(error),
        };
        // copies of another repository that was here before are worth nothing
        let cache = &self.cache;
        let is_known = cache.get(layout::DESCRIPTOR).await.is_some_and(|copy| copy == sealed);
        if !is_known {
            cache.keep(|_| false).await;
        }
        remember(cache, &sealed, &unlocked).await;
        Ok(Opened { unlocked, settings, is_remembered: false })
    }

    /// Opens with what was kept, without a request. The first listing tells whether the slot is
    /// still there: see [`Repository::list_meta`].
    async fn open_remembered(&self, with: &Unlock) -> Option<Opened> {
        let sealed = self.cache.get(layout::DESCRIPTOR).await?;
        let head = descriptor::decode_head(&sealed).ok()?;
        let randomness = &*self.runtime.randomness;
        let unlocked = unlock_remembered(&self.cache, head.repository, with, randomness).await?;
        let settings = descriptor::open_settings(&unlocked.keys, &sealed).ok()?;
        Some(Opened { unlocked, settings, is_remembered: true })
    }
}

/// True if copies may open what gave `error`: an object is lost or damaged, and there are some.
/// A slot that is lost looks like a wrong password.
async fn may_have_copies(target: &SharedTarget, error: &Error) -> bool {
    let is_lost = matches!(error.kind(), ErrorKind::NoRepository | ErrorKind::WrongKey);
    (is_lost || is_curable(error)) && is_protected(&**target).await.unwrap_or(false)
}

/// Keeps what opens the repository.
async fn remember(cache: &Cache, descriptor: &Bytes, unlocked: &Unlocked) {
    cache.put(layout::DESCRIPTOR, descriptor.clone()).await;
    cache.put(&MetaName::Slot(unlocked.id.0).to_string(), unlocked.slot.clone()).await;
    if let Some(record) = &unlocked.epoch {
        let epoch = highest(unlocked.keys.masters());
        cache.put(&MetaName::Epoch(epoch).to_string(), record.clone()).await;
    }
}

/// Removes the slots of an `init` that found a repository.
async fn withdraw(target: &SharedTarget, slots: impl Iterator<Item = SlotId>) {
    let names = slots.map(|id| MetaName::Slot(id.0).to_string());
    let keys: Vec<ObjectKey> = names.filter_map(|name| layout::key(&name).ok()).collect();
    let count = keys.len();
    if let Err(error) = target.delete_many(keys, count).await {
        tracing::warn!(%error, "key slots of the init that was refused stay");
    }
}

async fn read_descriptor(target: &SharedTarget) -> Result<(DescriptorHead, Bytes)> {
    let key = layout::key(layout::DESCRIPTOR)?;
    let read = read_healing(&**target, &key, |sealed| descriptor::decode_head(sealed)).await;
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => no_repository(target),
        _ => error,
    })
}

fn no_repository(target: &SharedTarget) -> Error {
    Error::new(ErrorKind::NoRepository, "there is no repository here")
        .on(target)
        .hint("`strongroom init` makes one")
}

fn exists(target: &SharedTarget) -> Error {
    Error::new(ErrorKind::AlreadyExists, "there is a repository already").on(target)
}
