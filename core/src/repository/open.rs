//! Creating and opening.

use bytes::Bytes;
use futures::TryStreamExt;
use zeroize::Zeroizing;

use super::{Credential, Repository, layout};
use crate::{
    crypto::{KdfCost, KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        descriptor::{self, Settings},
        slot::{self, RecoveryKey, SlotKind, SlotSecret},
    },
    id::RepositoryId,
    runtime::{Runtime, Timestamp, random},
    target::{ByteRange, ObjectMeta, Payload, PutMode, SharedTarget, TargetErrorKind},
};

/// How a new repository is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Cost of deriving a key from the password.
    pub kdf: KdfCost,
    /// Chunking, packs, compression. The time of creation is set by `init`.
    pub settings: Settings,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { kdf: KdfCost::default(), settings: Settings::new(Timestamp::default()) }
    }
}

impl Repository {
    /// Creates a repository in a place that has none. Returns it with its recovery key, which
    /// is shown once and never stored.
    ///
    /// Key slots are written first and the descriptor last, by one create: an interrupted `init`
    /// leaves nothing that looks like a repository, and of two at once one wins.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one, `Invalid` for an empty password or settings out of
    /// bounds, and what the target reports.
    pub async fn init(
        target: SharedTarget,
        runtime: Runtime,
        password: &Zeroizing<Vec<u8>>,
        options: &InitOptions,
    ) -> Result<(Self, RecoveryKey)> {
        if password.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the password is empty"));
        }
        options.kdf.check()?;
        let descriptor_key = layout::key(layout::DESCRIPTOR)?;
        match target.head(&descriptor_key).await {
            Ok(_) => return Err(exists(&target)),
            Err(error) if error.kind() == TargetErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let randomness = &*runtime.randomness;
        let repository = RepositoryId(random(randomness));
        let masters = vec![(0, MasterKey::generate(randomness))];
        let recovery = RecoveryKey::generate(randomness);
        let secrets = [SlotSecret::Password(password), SlotSecret::Recovery(&recovery)];
        for secret in &secrets {
            let sealed = slot::seal(repository, secret, &options.kdf, &masters, randomness)?;
            let name = format!("{}/{}", layout::SLOTS, slot_name(randomness));
            let payload = Payload::from(Bytes::from(sealed));
            target.put(&layout::key(&name)?, payload, PutMode::Create).await?;
        }
        let keys = KeyRing::new(repository, masters)?;
        let settings = Settings { created: runtime.clock.now(), ..options.settings.clone() };
        let sealed = descriptor::seal(&keys, &settings, randomness)?;
        let payload = Payload::from(Bytes::from(sealed));
        match target.put(&descriptor_key, payload, PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {
                return Err(exists(&target));
            }
            Err(error) => return Err(error.into()),
        }
        Ok((Self::new(target, runtime, keys, settings), recovery))
    }

    /// Opens the repository at `target`.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, `Unsupported` (newer format), `Damaged`, or the target's.
    pub async fn open(
        target: SharedTarget,
        runtime: Runtime,
        credential: &Credential,
    ) -> Result<Self> {
        let descriptor_key = layout::key(layout::DESCRIPTOR)?;
        let sealed = match target.get(&descriptor_key, ByteRange::Full).await {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == TargetErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NoRepository, "there is no repository here")
                    .on(&target)
                    .hint("`strongroom init` makes one"));
            }
            Err(error) => return Err(error.into()),
        };
        let head = descriptor::decode_head(&sealed)?;
        let masters = unlock(&target, head.repository, credential).await?;
        let keys = KeyRing::new(head.repository, masters)?;
        let settings = descriptor::open_settings(&keys, &sealed)?;
        Ok(Self::new(target, runtime, keys, settings))
    }
}

type Masters = Vec<(u32, MasterKey)>;

/// Tries the slots that fit the credential; a damaged slot matters only if no other opens.
async fn unlock(
    target: &SharedTarget,
    repository: RepositoryId,
    credential: &Credential,
) -> Result<Masters> {
    let prefix = layout::prefix(layout::SLOTS)?;
    let mut objects: Vec<ObjectMeta> = target.list(&prefix).try_collect().await?;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let secret = match credential {
        Credential::Password(password) => SlotSecret::Password(password),
        Credential::RecoveryKey(key) => SlotSecret::Recovery(key),
    };
    let mut damaged = None;
    let mut fitting = 0;
    for object in &objects {
        let slot = target.get(&object.key, ByteRange::Full).await?;
        match slot::inspect(&slot) {
            // left by an interrupted `init`
            Ok(info) if info.repository != repository => continue,
            Ok(info) if info.kind != secret.kind() => continue,
            Ok(_) => fitting += 1,
            Err(error) => {
                damaged = Some(error.on(&object.key));
                continue;
            }
        }
        match slot::open(repository, &secret, &slot) {
            Ok(masters) => return Ok(masters),
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

fn slot_name(randomness: &dyn crate::runtime::Randomness) -> String {
    random::<16>(randomness).iter().map(|byte| format!("{byte:02x}")).collect()
}
