//! Encrypted streams on a target: content of every length comes back, in constant memory, and
//! nothing that was touched does.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::*;
use crate::{
    crypto::MasterKey,
    target::{Capabilities, KeyPrefix, ObjectMeta, TargetError},
};

/// Objects in memory, and a note of every request.
#[derive(Debug, Default)]
struct Shelf {
    objects: Mutex<BTreeMap<ObjectKey, Bytes>>,
    gets: AtomicUsize,
    largest_part_bytes: AtomicUsize,
    /// After the first request for content, the object under this key is exchanged for that one.
    exchange: Mutex<Option<(ObjectKey, Bytes)>>,
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shelf")
    }
}

impl Shelf {
    fn object(&self, key: &ObjectKey) -> Option<Bytes> {
        self.objects.lock().unwrap().get(key).cloned()
    }

    fn set(&self, key: &ObjectKey, content: impl Into<Bytes>) {
        self.objects.lock().unwrap().insert(key.clone(), content.into());
    }

    fn found(&self, operation: Operation, key: &ObjectKey) -> TargetResult<Bytes> {
        let missing = || TargetError::new(TargetErrorKind::NotFound, operation, "no such object");
        self.object(key).ok_or_else(|| missing().on(key))
    }
}

#[async_trait]
impl BackupTarget for Shelf {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let mut whole = Vec::new();
        let mut parts = payload.into_stream();
        while let Some(part) = parts.next().await {
            let part = part?;
            self.largest_part_bytes.fetch_max(part.len(), Ordering::Relaxed);
            whole.extend_from_slice(&part);
        }
        if mode == PutMode::Create && self.object(key).is_some() {
            let kind = TargetErrorKind::AlreadyExists;
            return Err(TargetError::new(kind, Operation::Put, "exists").on(key));
        }
        self.set(key, whole);
        Ok(())
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let object = self.found(Operation::Get, key)?;
        if let Some((key, content)) = self.exchange.lock().unwrap().take() {
            self.set(&key, content);
        }
        let ByteRange::From { offset, length } = range else {
            return Ok(object);
        };
        let start = offset.min(object.len() as u64) as usize;
        let end = offset.saturating_add(length).min(object.len() as u64) as usize;
        Ok(object.slice(start..end))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let size_bytes = self.found(Operation::Head, key)?.len() as u64;
        Ok(ObjectMeta { key: key.clone(), size_bytes, modified_ms: None })
    }

    fn list(&self, _prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        stream::empty().boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities {
            atomic_create: true,
            concurrency: 4,
            delete_batch_max: 1,
            retention: false,
            codes_data: true,
            object_bytes_max: None,
            space: None,
        })
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn door(key_byte: u8) -> (Arc<Shelf>, EncryptedTarget) {
    let shelf = Arc::new(Shelf::default());
    let keys = KeyRing::standalone(MasterKey::from_bytes([key_byte; 32]));
    let door = EncryptedTarget::new(Arc::clone(&shelf), keys);
    (shelf, door)
}

fn content(length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut content);
    content
}

async fn put(door: &EncryptedTarget, key: &ObjectKey, plain: &[u8], piece: usize) -> Result<u64> {
    let pieces: Vec<std::io::Result<Bytes>> =
        plain.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    door.put_stream(key, stream::iter(pieces), PutMode::Create).await
}

/// The content, or what came before the error and the error.
async fn get(door: &EncryptedTarget, key: &ObjectKey) -> Result<Vec<u8>, (Vec<u8>, Error)> {
    let mut plain = Vec::new();
    let mut pieces = match door.get_stream(key).await {
        Ok(pieces) => pieces,
        Err(error) => return Err((plain, error)),
    };
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => plain.extend_from_slice(&piece),
            Err(error) => return Err((plain, error)),
        }
    }
    Ok(plain)
}

/// The content length whose sealed object is exactly `sealed` bytes long.
fn plain_of(sealed: u64) -> usize {
    StreamLayout::of_sealed(sealed).unwrap().plain_bytes() as usize
}

#[tokio::test]
async fn every_length_comes_back() {
    let lengths = [0, 1, 65_535, 65_536, 65_537, 1 << 20, 9 << 20];
    let on_read_edges = [-1, 0, 1].map(|beyond| plain_of(READ_BYTES.saturating_add_signed(beyond)));
    for length in lengths.into_iter().chain(on_read_edges).chain([plain_of(2 * READ_BYTES)]) {
        let (shelf, door) = door(1);
        let (key, plain) = (key("streams/x"), content(length));
        assert_eq!(put(&door, &key, &plain, 300_007).await.unwrap(), length as u64);
        assert!(get(&door, &key).await.unwrap() == plain, "{length}");
        let sealed_bytes = shelf.object(&key).unwrap().len() as u64;
        assert_eq!(sealed_bytes, StreamLayout::of_plain(length as u64).sealed_bytes());
        let gets = shelf.gets.load(Ordering::Relaxed) as u64;
        assert_eq!(gets, sealed_bytes / READ_BYTES + 1, "requests for {length} bytes");
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_the_pieces_of_the_source() {
    let (shelf, door) = door(1);
    let plain = content(20 << 20);
    put(&door, &key("x"), &plain, plain.len()).await.unwrap();
    let largest = shelf.largest_part_bytes.load(Ordering::Relaxed);
    assert!(largest <= 2 * WRITE_BYTES + FRAME_SEALED_BYTES + HEADER_BYTES, "{largest}");
    let mut pieces = door.get_stream(&key("x")).await.unwrap();
    while let Some(piece) = pieces.next().await {
        assert!(piece.unwrap().len() as u64 <= READ_BYTES + FRAME_SEALED_BYTES as u64);
    }
}

#[tokio::test]
async fn truncated_objects_never_end_cleanly() {
    let (shelf, door) = door(1);
    let (key, plain) = (key("x"), content((8 << 20) + 100_000));
    put(&door, &key, &plain, 1 << 20).await.unwrap();
    let whole = shelf.object(&key).unwrap();
    let frame_edges = [0, 1, 64, 128].map(|index| StreamLayout::frame_offset(index) as usize);
    let read_edges = [READ_BYTES as usize, 2 * READ_BYTES as usize];
    for edge in frame_edges.into_iter().chain(read_edges).chain([0, whole.len()]) {
        for length in [edge.saturating_sub(1), edge, edge + 1, edge + 15, edge + 16, edge + 17] {
            if length >= whole.len() {
                continue;
            }
            shelf.set(&key, whole.slice(..length));
            let (before, error) = get(&door, &key).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{length}");
            assert!(plain.starts_with(&before), "{length}");
            let end = door.get_range(&key, u64::MAX, 1).await.unwrap_err();
            assert_eq!(end.kind(), ErrorKind::Damaged, "{length}");
        }
    }
}

#[tokio::test]
async fn touched_swapped_renamed_and_foreign_objects_are_refused() {
    let (shelf, near) = door(1);
    let (one, two) = (key("one"), key("two"));
    put(&near, &one, &content(200_000), 70_000).await.unwrap();
    put(&near, &two, &content(200_000), 70_000).await.unwrap();
    let (first, second) = (shelf.object(&one).unwrap(), shelf.object(&two).unwrap());
    let extended = [&first[..], &[0; 20]].concat();
    let mut flipped = first.to_vec();
    flipped[150_000] ^= 4;
    let mixed = [&first[..96 + 65_552], &second[96 + 65_552..]].concat();
    for bad in [second.clone(), extended.into(), flipped.into(), mixed.into()] {
        shelf.set(&one, bad);
        assert_eq!(get(&near, &one).await.unwrap_err().1.kind(), ErrorKind::Damaged);
        assert!(near.get_range(&one, 0, u64::MAX).await.is_err());
    }
    shelf.set(&key("renamed"), first.clone());
    assert!(get(&near, &key("renamed")).await.is_err());
    shelf.set(&one, first);
    assert!(get(&near, &one).await.is_ok());
    let foreign_keys = KeyRing::standalone(MasterKey::from_bytes([2; 32]));
    let far = EncryptedTarget::new(Arc::clone(&shelf), foreign_keys);
    assert_eq!(get(&far, &one).await.unwrap_err().1.kind(), ErrorKind::Damaged);
    assert_eq!(get(&near, &key("none")).await.unwrap_err().1.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_object_exchanged_while_it_is_read_is_refused() {
    let (shelf, door) = door(1);
    let key = key("x");
    put(&door, &key, &content(9 << 20), 1 << 20).await.unwrap();
    let older = shelf.object(&key).unwrap();
    shelf.delete(&key).await.unwrap();
    put(&door, &key, &content(9 << 20), 1 << 20).await.unwrap();
    *shelf.exchange.lock().unwrap() = Some((key.clone(), older.clone()));
    let (before, error) = get(&door, &key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(before.len() as u64 <= READ_BYTES);
    *shelf.exchange.lock().unwrap() = Some((key.clone(), older.slice(..7_000_000)));
    assert_eq!(get(&door, &key).await.unwrap_err().1.kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn ranges_are_the_same_part_of_the_content() {
    let (_, door) = door(1);
    let (key, plain) = (key("x"), content((9 << 20) + 77));
    put(&door, &key, &plain, 1 << 20).await.unwrap();
    let edges = [0, 1, 65_535, 65_536, 65_537, 4 << 20, (9 << 20) + 76, (9 << 20) + 77, 10 << 20];
    for offset in edges {
        for length in [0, 1, 65_536, 5 << 20, u64::MAX] {
            let part = door.get_range(&key, offset, length).await.unwrap();
            let start = (offset as usize).min(plain.len());
            let end = offset.saturating_add(length).min(plain.len() as u64) as usize;
            assert!(part == plain[start..end], "{length} bytes from {offset}");
        }
    }
}

#[tokio::test]
async fn a_failing_source_leaves_no_object_and_says_why() {
    let (shelf, door) = door(1);
    let pieces = [
        Ok(Bytes::from(content(3 << 20))),
        Err(std::io::Error::other("the pipe broke")),
        Ok(Bytes::new()),
    ];
    let error =
        door.put_stream(&key("x"), stream::iter(pieces), PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("the pipe broke"), "{error}");
    assert_eq!(shelf.object(&key("x")), None);
}

#[tokio::test]
async fn create_does_not_overwrite() {
    let (_, door) = door(1);
    put(&door, &key("x"), b"first", 5).await.unwrap();
    let error = put(&door, &key("x"), b"second", 5).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(get(&door, &key("x")).await.unwrap(), b"first");
}
