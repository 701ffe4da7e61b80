//! Writing an object so that it exists whole and durable, or not at all.
//!
//! Temporary file, its bytes to disk, its name into place, the folder to disk.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use smb2::{ErrorKind, FileWriter, RenameOptions, types::status::NtStatus};
use strongroom_core::target::{
    Operation, Payload, PutMode, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    error::{failed, has_status, is_missing, refused},
    folder::{Folders, entries, join, split},
    link::Link,
    request,
};

/// Where unfinished objects lie; begins with a dot, so it can never be part of a key.
pub(crate) const TEMP_FOLDER: &str = ".strongroom-tmp";

/// Leftovers older than this belong to nobody any more.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// What is no longer than this travels in one request.
const SINGLE_BYTES_MAX: u64 = 1 << 20;
/// How much is handed to the connection at once; several of these are on their way.
const PIECE_BYTES: usize = 1 << 20;
/// After how much the server is told to bring it to disk, so that this never takes a minute.
const FLUSH_EVERY_BYTES: u64 = 64 << 20;
/// How often a name that somebody holds is tried again, and the first wait, which doubles.
const BUSY_TRIES: u32 = 9;
const BUSY_WAIT: Duration = Duration::from_millis(8);

/// What the writers of a target share.
#[derive(Debug)]
pub(crate) struct Writers {
    /// Path of the folder of temporary files.
    temp_folder: String,
    folders: Folders,
    /// Temporary files that could not be removed when they were given up.
    orphans: Mutex<Vec<String>>,
    /// How a name is given to a new object: not known yet, by link, by rename.
    naming: AtomicU8,
    /// Whether the server cannot bring a folder to disk.
    is_without_folder_flush: AtomicBool,
}

const UNKNOWN: u8 = 0;
const BY_LINK: u8 = 1;
const BY_RENAME: u8 = 2;

impl Writers {
    /// For objects below `base`, a path below the share.
    pub(crate) fn new(base: &str) -> Self {
        Self {
            temp_folder: join(base, TEMP_FOLDER),
            folders: Folders::default(),
            orphans: Mutex::default(),
            naming: AtomicU8::new(UNKNOWN),
            is_without_folder_flush: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(crate) fn pretend_there_are_no_links(&self) {
        self.naming.store(BY_RENAME, Ordering::Relaxed);
    }

    /// The folders that are known.
    pub(crate) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Stores `payload` as the file `path`.
    pub(crate) async fn put(
        self: &Arc<Self>,
        link: &Arc<Link>,
        path: &str,
        payload: Payload,
        mode: PutMode,
    ) -> TargetResult<()> {
        let is_large = payload.len().is_none_or(|length| length > SINGLE_BYTES_MAX);
        if mode == PutMode::Create && is_large {
            self.look_first(link, path).await?;
        }
        self.remove_orphans(link).await;
        for folder in [split(path).0, &self.temp_folder] {
            let made = self.folders.make(link, folder).await;
            made.map_err(|error| failed(Operation::Put, "create the folder", error))?;
        }
        let temp = TempFile::new(self, link);
        let stored = match write(&temp, payload, is_large).await {
            Ok(()) => self.publish(&temp, path, mode).await,
            Err(error) => Err(error),
        };
        temp.discard().await;
        stored
    }

    /// Refuses a create of what is there already; spares sending a doomed object.
    async fn look_first(&self, link: &Link, path: &str) -> TargetResult<()> {
        match link.ask(link.tree().stat(&mut link.connection(), path)).await {
            Ok(found) if !found.is_directory => Err(already_exists()),
            Err(error) if crate::error::ends_link(&error) => {
                Err(failed(Operation::Put, "look for the object", error))
            }
            _ => Ok(()),
        }
    }

    /// Gives the object its name. When this returns, it is on disk.
    async fn publish(&self, temp: &TempFile, path: &str, mode: PutMode) -> TargetResult<()> {
        let named = match mode {
            PutMode::Create => self.name_if_free(temp, path).await,
            PutMode::Replace => name_anyway(temp, path).await,
        };
        let error = match named {
            Ok(()) => return self.flush_folder(&temp.link, path).await,
            Err(error) => error,
        };
        if is_missing(&error) {
            // Somebody removed the folder: the next try makes it again.
            self.folders.forget();
            let why = "the object's folder or temporary file was removed meanwhile";
            return Err(refused(Operation::Put, TargetErrorKind::Unavailable, why).because(error));
        }
        let link = &temp.link;
        let found = link.ask(link.tree().stat(&mut link.connection(), path)).await;
        if found.is_ok_and(|found| found.is_directory) {
            let why = "there is a folder of this name";
            return Err(refused(Operation::Put, TargetErrorKind::Invalid, why));
        }
        if error.kind() == ErrorKind::AlreadyExists {
            // The winner may have died before the name was on disk, and somebody who tries again
            // takes what is there for proof that all is well.
            self.flush_folder(link, path).await?;
            return Err(already_exists());
        }
        Err(not_named(error, mode))
    }

    /// Gives the file its name unless that is taken, as one step.
    ///
    /// A hard link, as Samba's rename looks first and renames then, so that two clients at once
    /// could both succeed; making a link fails where a name is taken, in any file system.
    async fn name_if_free(&self, temp: &TempFile, path: &str) -> smb2::Result<()> {
        let (link, naming) = (&temp.link, self.naming.load(Ordering::Relaxed));
        if naming == BY_RENAME {
            return self.rename_alone(temp, path).await;
        }
        // Until links are known to work, the temporary file is kept for the other way.
        let is_moved = naming == BY_LINK;
        match link.ask(request::hard_link(link, &temp.path, path, is_moved)).await {
            Err(error) if !is_moved && is_not_known(&error) => {
                self.naming.store(BY_RENAME, Ordering::Relaxed);
                self.rename_alone(temp, path).await
            }
            result => {
                if result.is_ok() {
                    self.naming.store(BY_LINK, Ordering::Relaxed);
                }
                if is_moved && !result.as_ref().is_err_and(crate::error::ends_link) {
                    temp.note_gone();
                }
                result
            }
        }
    }

    /// The same where a file has only one name: by a rename, while no other client can do one to
    /// the same name.
    async fn rename_alone(&self, temp: &TempFile, path: &str) -> smb2::Result<()> {
        let (link, lock) = (temp.link.clone(), join(&self.temp_folder, &lock_name(path)));
        let (from, to) = (temp.path.clone(), path.to_owned());
        let alone = async move {
            let held = while_busy(|| link.ask(request::hold(&link, &lock))).await?;
            let renamed = link.ask(rename(&link, &from, &to, false)).await;
            held.release(&link).await;
            renamed
        };
        let renamed = temp.link.ask_to_the_end(alone).await;
        if renamed.is_ok() {
            temp.note_gone();
        }
        renamed
    }

    /// Brings the names in the folder of `path` to disk, where the server can do that.
    async fn flush_folder(&self, link: &Arc<Link>, path: &str) -> TargetResult<()> {
        if self.is_without_folder_flush.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (asked, folder) = (link.clone(), split(path).0.to_owned());
        let flushed = async move { request::flush_folder(&asked, &folder).await };
        match link.ask_to_the_end(flushed).await {
            Err(error) if is_not_known(&error) || error.kind() == ErrorKind::AccessDenied => {
                self.is_without_folder_flush.store(true, Ordering::Relaxed);
                Ok(())
            }
            // Gone again already.
            Err(error) if is_missing(&error) => Ok(()),
            flushed => {
                flushed.map_err(|error| failed(Operation::Put, "bring the name to disk", error))
            }
        }
    }

    async fn remove_orphans(&self, link: &Link) {
        let mut orphans = std::mem::take(&mut *self.lock_orphans());
        while let Some(path) = orphans.pop() {
            let removed = link.ask(link.tree().delete_file(&mut link.connection(), &path)).await;
            if removed.is_err_and(|error| !is_missing(&error)) {
                orphans.push(path);
                break;
            }
        }
        self.lock_orphans().append(&mut orphans);
    }

    fn lock_orphans(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes temporary files that are older than a day, by the clock of the server: their age
    /// is their distance from a file made now. A file that somebody still writes cannot be
    /// removed, as its writer shares it with nobody. Best effort, as leftovers harm nobody.
    pub(crate) async fn remove_leftovers(self: &Arc<Self>, link: &Arc<Link>) {
        let Ok(found) = entries(link, &self.temp_folder).await else { return };
        if found.is_empty() {
            return;
        }
        let fresh = TempFile::new(self, link);
        let connection = &mut link.connection();
        if write(&fresh, Payload::Buffered(Vec::new()), false).await.is_ok()
            && let Ok(now) = link.ask(link.tree().stat(connection, &fresh.path)).await
        {
            let ticks = u64::try_from(LEFTOVER_AGE.as_nanos() / 100).unwrap_or(u64::MAX);
            let limit = now.modified.0.saturating_sub(ticks);
            let old = |entry: &&smb2::DirectoryEntry| {
                !entry.is_directory && entry.modified.0.max(entry.created.0) < limit
            };
            for entry in found.iter().filter(old) {
                let path = join(&self.temp_folder, &entry.name);
                let _ = link.ask(link.tree().delete_file(connection, &path)).await;
            }
        }
        fresh.discard().await;
    }
}

/// An object that is being written; removed when given up or dropped.
struct TempFile {
    writers: Arc<Writers>,
    link: Arc<Link>,
    path: String,
    is_gone: AtomicBool,
}

impl TempFile {
    /// A name that is hard to meet twice even among machines that share the folder; the server
    /// refuses to make the file if somebody has it.
    fn new(writers: &Arc<Writers>, link: &Arc<Link>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let random = RandomState::new().build_hasher().finish();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = join(&writers.temp_folder, &format!("{random:016x}-{number}"));
        Self { writers: writers.clone(), link: link.clone(), path, is_gone: AtomicBool::new(false) }
    }

    /// Notes that there is no file under the temporary name any more.
    fn note_gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// Removes the file, if it is still there.
    async fn discard(self) {
        if self.is_gone.load(Ordering::Relaxed) || !self.link.is_usable() {
            return;
        }
        let connection = &mut self.link.connection();
        let removed = self.link.tree().delete_file(connection, &self.path);
        match self.link.ask(removed).await {
            Err(error) if !is_missing(&error) => {}
            _ => self.note_gone(),
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.is_gone.load(Ordering::Relaxed) {
            self.writers.lock_orphans().push(std::mem::take(&mut self.path));
        }
    }
}

/// Writes all of `payload` and brings it to disk.
async fn write(temp: &TempFile, payload: Payload, is_large: bool) -> TargetResult<()> {
    match payload {
        Payload::Buffered(parts) if !is_large => write_at_once(temp, &parts).await,
        payload => write_in_pieces(temp, payload).await,
    }
}

async fn write_at_once(temp: &TempFile, parts: &[Bytes]) -> TargetResult<()> {
    let (link, whole) = (&temp.link, parts.concat());
    let length = whole.len() as u64;
    if length > link.connection().compound_write_limit() {
        return write_in_pieces(temp, Payload::Buffered(parts.to_vec())).await;
    }
    let (tree, mut connection, path) = (link.tree().clone(), link.connection(), temp.path.clone());
    let written =
        async move { tree.write_file_compound_exclusive(&mut connection, &path, &whole).await };
    let written = link.ask_to_the_end(written).await.map_err(not_written)?;
    check_length(written, length)
}

async fn write_in_pieces(temp: &TempFile, payload: Payload) -> TargetResult<()> {
    let link = &temp.link;
    let (tree, connection, path) = (link.tree().clone(), link.connection(), temp.path.clone());
    let writer = async move { tree.create_file_writer_exclusive(connection, &path).await };
    let mut writer = link.ask_to_the_end(writer).await.map_err(not_written)?;
    match fill(link, &mut writer, payload).await {
        Ok(length) => {
            let written = link.ask(writer.finish()).await.map_err(not_written)?;
            check_length(written, length)
        }
        Err(error) => {
            let _ = link.ask(writer.abort()).await;
            Err(error)
        }
    }
}

/// Hands over all of `payload`, with several requests on their way; gives its length.
async fn fill(link: &Link, writer: &mut FileWriter, payload: Payload) -> TargetResult<u64> {
    let (mut length, mut is_on_disk) = (0_u64, 0);
    let mut parts = payload.into_stream();
    while let Some(part) = parts.next().await {
        for piece in part?.chunks(PIECE_BYTES) {
            link.ask(writer.write_chunk(piece)).await.map_err(not_written)?;
            length += piece.len() as u64;
            if length - is_on_disk >= FLUSH_EVERY_BYTES {
                link.ask(writer.flush_checkpoint()).await.map_err(not_written)?;
                is_on_disk = length;
            }
        }
    }
    Ok(length)
}

fn check_length(written: u64, length: u64) -> TargetResult<()> {
    if written == length {
        return Ok(());
    }
    let why = format!("the server took {written} bytes of {length}");
    Err(refused(Operation::Put, TargetErrorKind::Unavailable, &why))
}

fn not_written(error: smb2::Error) -> TargetError {
    failed(Operation::Put, "write", error)
}

fn not_named(error: smb2::Error, mode: PutMode) -> TargetError {
    let is_held = mode == PutMode::Replace && is_busy(&error);
    let mapped = failed(Operation::Put, "give the object its name", error);
    if !is_held || mapped.is_retryable() {
        return mapped;
    }
    let why = "the server does not let the old object be replaced now";
    refused(Operation::Put, TargetErrorKind::Unavailable, why)
        .because(mapped)
        .hint("somebody reads the old object, or the user may not delete it")
}

fn already_exists() -> TargetError {
    let why = "an object of this name exists";
    refused(Operation::Put, TargetErrorKind::AlreadyExists, why)
}

/// Gives the file its name in place of whatever has it, as one step. Waits a little for readers
/// of the old object, which servers may refuse to replace while it is open.
async fn name_anyway(temp: &TempFile, path: &str) -> smb2::Result<()> {
    let link = &temp.link;
    let renamed = while_busy(|| link.ask(rename(link, &temp.path, path, true))).await;
    if renamed.is_ok() {
        temp.note_gone();
    }
    renamed
}

async fn rename(link: &Link, from: &str, to: &str, is_replacing: bool) -> smb2::Result<()> {
    let options = RenameOptions::new().replace_if_exists(is_replacing);
    link.tree().rename_with(&mut link.connection(), from, to, options).await
}

/// Tries until nobody holds the name any more, or a few seconds are over.
async fn while_busy<T, Call>(mut call: impl FnMut() -> Call) -> smb2::Result<T>
where
    Call: Future<Output = smb2::Result<T>>,
{
    let mut tries = 0;
    loop {
        match call().await {
            Err(error) if tries < BUSY_TRIES && is_busy(&error) => {
                tokio::time::sleep(BUSY_WAIT * (1 << tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

fn is_busy(error: &smb2::Error) -> bool {
    matches!(error.kind(), ErrorKind::SharingViolation | ErrorKind::AccessDenied)
        || has_status(error, NtStatus::DELETE_PENDING)
}

/// Whether the server, or its file system, does not know such a request.
fn is_not_known(error: &smb2::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || has_status(error, NtStatus::INVALID_PARAMETER)
        || has_status(error, NtStatus::INVALID_INFO_CLASS)
}

/// The name of the file that is held while `path` gets its object: short, whatever the path.
fn lock_name(path: &str) -> String {
    // FNV-1a, the same on every machine; two paths that meet only wait for each other.
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("lock-{hash:016x}")
}
