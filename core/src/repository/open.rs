//! Creating and opening.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use zeroize::Zeroizing;

use super::{
    Cache, Credential, Inner, Repository, Storage,
    layout::{self, MetaName},
    packs::PackReader,
    protection::{Guarded, is_curable, is_protected, read_healing},
};
use crate::{
    crypto::{KdfCost, KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        descriptor::{self, Settings},
        slot::{self, RecoveryKey, SlotKind, SlotSecret},
    },
    id::RepositoryId,
    runtime::{Runtime, Timestamp, random},
    target::{ObjectKey, ObjectMeta, Payload, PutMode, SharedTarget, TargetErrorKind, TargetExt},
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
    /// Creates a repository in a place that has none. Returns it with its recovery key, which
    /// is shown once and never stored.
    ///
    /// Key slots are written first and the descriptor last, by one create: an interrupted `init`
    /// leaves nothing that looks like a repository, and of two at once one wins. Three requests,
    /// or four: see [`InitOptions::trusts_create`].
    ///
    /// # Errors
    /// `AlreadyExists` if there is one, `Invalid` for an empty password or settings out of
    /// bounds, and what the target reports.
    pub async fn init(
        storage: impl Into<Storage>,
        runtime: Runtime,
        password: &Zeroizing<Vec<u8>>,
        options: &InitOptions,
    ) -> Result<(Self, RecoveryKey)> {
        if password.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the password is empty"));
        }
        options.kdf.check()?;
        let Storage { target, cache } = storage.into();
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
        let masters = vec![(0, MasterKey::generate(randomness))];
        let recovery = RecoveryKey::generate(randomness);
        let secrets = [SlotSecret::Password(password), SlotSecret::Recovery(&recovery)];
        let mut slots = Vec::new();
        for secret in &secrets {
            let sealed = slot::seal(repository, secret, &options.kdf, &masters, randomness)?;
            let name = MetaName::Slot(random(randomness));
            let sealed = Bytes::from(sealed);
            let payload = Payload::from(sealed.clone());
            target.put(&layout::key(&name.to_string())?, payload, PutMode::Create).await?;
            slots.push((name, sealed));
        }
        let keys = KeyRing::new(repository, masters)?;
        let created = runtime.clock.now();
        let settings = Settings { created, has_parity, ..options.settings.clone() };
        let sealed = Bytes::from(descriptor::seal(&keys, &settings, randomness)?);
        let payload = Payload::from(sealed.clone());
        match target.put(&layout::key(layout::DESCRIPTOR)?, payload, PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {
                withdraw(&target, &slots).await;
                return Err(exists(&target));
            }
            Err(error) => return Err(error.into()),
        }
        cache.keep(|_| false).await;
        if let Some((name, slot)) = slots.first() {
            remember(&cache, &sealed, *name, slot).await;
        }
        Ok((
            assemble(guarded, runtime, cache, Opened { keys, settings, remembered: None }),
            recovery,
        ))
    }

    /// Opens the repository at `target`.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, `Unsupported` (newer format), `Damaged`, or the target's.
    pub async fn open(
        storage: impl Into<Storage>,
        runtime: Runtime,
        credential: &Credential,
    ) -> Result<Self> {
        let Storage { target, cache } = storage.into();
        let cache = Cache::new(cache);
        if let Some(opened) = open_remembered(&cache, credential).await {
            let guarded = Guarded::new(target, opened.settings.has_parity)?;
            return Ok(assemble(guarded, runtime, cache, opened));
        }
        // whether there are copies is known only once the settings were read: what cannot be
        // opened without them is tried with them
        let opened = match open_stored(&target, &cache, credential).await {
            Err(error) if may_have_copies(&target, &error).await => {
                let guarded = Guarded::new(target.clone(), true)?;
                open_stored(&guarded.target, &cache, credential).await?
            }
            outcome => outcome?,
        };
        let guarded = Guarded::new(target, opened.settings.has_parity)?;
        Ok(assemble(guarded, runtime, cache, opened))
    }
}

/// Opens what is stored, and remembers it.
async fn open_stored(
    target: &SharedTarget,
    cache: &Cache,
    credential: &Credential,
) -> Result<Opened> {
    let key = layout::key(layout::DESCRIPTOR)?;
    let read = read_healing(&**target, &key, |sealed| descriptor::decode_head(sealed)).await;
    let (head, sealed) = read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => no_repository(target),
        _ => error,
    })?;
    let (masters, name, slot) = unlock(target, head.repository, credential).await?;
    let keys = KeyRing::new(head.repository, masters)?;
    let (settings, sealed) = match descriptor::open_settings(&keys, &sealed) {
        Ok(settings) => (settings, sealed),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            let open = |sealed: &Bytes| descriptor::open_settings(&keys, sealed);
            read_healing(&**target, &key, open).await?
        }
        Err(error) => return Err(error),
    };
    // copies of another repository that was here before are worth nothing
    let is_known = cache.get(layout::DESCRIPTOR).await.is_some_and(|copy| copy == sealed);
    if !is_known {
        cache.keep(|_| false).await;
    }
    if let Some(name) = name {
        remember(cache, &sealed, name, &slot).await;
    }
    Ok(Opened { keys, settings, remembered: None })
}

/// True if copies may open what gave `error`: an object is lost or damaged, and there are some.
/// A slot that is lost looks like a wrong password.
async fn may_have_copies(target: &SharedTarget, error: &Error) -> bool {
    let is_lost = matches!(error.kind(), ErrorKind::NoRepository | ErrorKind::WrongKey);
    (is_lost || is_curable(error)) && is_protected(&**target).await.unwrap_or(false)
}

/// What opening found out.
struct Opened {
    keys: KeyRing,
    settings: Settings,
    remembered: Option<MetaName>,
}

fn assemble(guarded: Guarded, runtime: Runtime, cache: Cache, opened: Opened) -> Repository {
    let Opened { keys, settings, remembered } = opened;
    let packs = PackReader::new(guarded.target.clone(), keys.clone(), cache.clone());
    let packs = Arc::new(packs);
    Inner { guarded, runtime, keys, settings, packs, cache, remembered_slot: remembered }
        .into_repository()
}

/// Keeps what opens the repository. Every other slot is forgotten: it may be removed some day.
async fn remember(cache: &Cache, descriptor: &Bytes, name: MetaName, slot: &Bytes) {
    cache.put(layout::DESCRIPTOR, descriptor.clone()).await;
    cache.put(&name.to_string(), slot.clone()).await;
}

/// Opens with what was kept, without a request. The first listing tells whether the slot is
/// still there: see [`Repository::list_meta`].
async fn open_remembered(cache: &Cache, credential: &Credential) -> Option<Opened> {
    let sealed = cache.get(layout::DESCRIPTOR).await?;
    let head = descriptor::decode_head(&sealed).ok()?;
    let secret = secret_of(credential);
    for key in cache.names(&layout::prefix(layout::SLOTS).ok()?).await {
        let Some(name @ MetaName::Slot(_)) = MetaName::of(&key) else { continue };
        let Some(slot) = cache.get(key.as_str()).await else { continue };
        let is_fitting = slot::inspect(&slot)
            .is_ok_and(|info| info.repository == head.repository && info.kind == secret.kind());
        if !is_fitting {
            continue;
        }
        let Ok(masters) = slot::open(head.repository, &secret, &slot) else { continue };
        let keys = KeyRing::new(head.repository, masters).ok()?;
        let settings = descriptor::open_settings(&keys, &sealed).ok()?;
        return Some(Opened { keys, settings, remembered: Some(name) });
    }
    None
}

/// Removes the slots of an `init` that found a repository.
async fn withdraw(target: &SharedTarget, slots: &[(MetaName, Bytes)]) {
    let keys: Vec<ObjectKey> =
        slots.iter().filter_map(|(name, _)| layout::key(&name.to_string()).ok()).collect();
    let count = keys.len();
    if let Err(error) = target.delete_many(keys, count).await {
        tracing::warn!(%error, "key slots of the init that was refused stay");
    }
}

fn no_repository(target: &SharedTarget) -> Error {
    Error::new(ErrorKind::NoRepository, "there is no repository here")
        .on(target)
        .hint("`strongroom init` makes one")
}

fn secret_of(credential: &Credential) -> SlotSecret<'_> {
    match credential {
        Credential::Password(password) => SlotSecret::Password(password),
        Credential::RecoveryKey(key) => SlotSecret::Recovery(key),
    }
}

type Masters = Vec<(u32, MasterKey)>;

/// Tries the slots that fit the credential; a damaged slot matters only if no other opens.
async fn unlock(
    target: &SharedTarget,
    repository: RepositoryId,
    credential: &Credential,
) -> Result<(Masters, Option<MetaName>, Bytes)> {
    let prefix = layout::prefix(layout::SLOTS)?;
    let mut objects: Vec<ObjectMeta> = target.list(&prefix).try_collect().await?;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let secret = secret_of(credential);
    let mut damaged = None;
    let mut fitting = 0;
    for object in &objects {
        let read = read_healing(&**target, &object.key, |slot| slot::inspect(slot)).await;
        let slot = match read {
            // left by an interrupted `init`
            Ok((info, _)) if info.repository != repository => continue,
            Ok((info, _)) if info.kind != secret.kind() => continue,
            Ok((_, slot)) => slot,
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported) => {
                damaged = Some(error.on(&object.key));
                continue;
            }
            Err(error) => return Err(error),
        };
        fitting += 1;
        match slot::open(repository, &secret, &slot) {
            Ok(masters) => return Ok((masters, MetaName::of(&object.key), slot)),
            Err(error) if error.kind() == ErrorKind::WrongKey => {}
            Err(error) => return Err(error.on(&object.key)),
        }
    }
    Err(match damaged {
        Some(error) => error.hint("another key slot or the recovery key may still open it"),
        None => refused(secret.kind(), fitting),
    })
}

fn refused(kind: SlotKind, fitting: usize) -> Error {
    let message = match (kind, fitting) {
        (SlotKind::Password, 0) => "no key slot takes a password",
        (SlotKind::Password, _) => "the password is wrong",
        (SlotKind::Recovery, 0) => "no key slot takes a recovery key",
        (SlotKind::Recovery, _) => "the recovery key is not the one of this repository",
    };
    Error::new(ErrorKind::WrongKey, message)
}

fn exists(target: &SharedTarget) -> Error {
    Error::new(ErrorKind::AlreadyExists, "there is a repository already").on(target)
}
