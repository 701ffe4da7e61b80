//! Objects: large ones, names that collide, what is left of those that failed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use strongroom_core::target::{
    BackupTarget, KeyPrefix, Operation, Payload, PutMode, TargetError, TargetErrorKind, TargetExt,
};

use crate::server::{Server, fresh, key, on_disk, share, unique};

const MIB: usize = 1 << 20;

/// What lies in the folder of temporary files.
fn leftovers(path: &str) -> usize {
    std::fs::read_dir(on_disk(path).join(".strongroom-tmp")).map_or(0, Iterator::count)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at + seed) * 31 % 251) as u8).collect()
}

/// Clients with connections of their own, so that other processes of the server serve them.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_clients_wins_a_name() {
    let (_, path) = fresh("race").await;
    let server = Server::shared();
    let clients = join_all((0..6).map(|_| server.open(&path))).await;
    let clients: Vec<_> = clients.into_iter().map(Result::unwrap).collect();
    for round in 0..40 {
        let name = key(&format!("f{}/k{round}", round % 3));
        let creates = clients
            .iter()
            .enumerate()
            .map(|(number, client)| client.create(&name, vec![number as u8; 1000 + number]));
        let results = join_all(creates).await;
        let won: Vec<_> = (0..results.len()).filter(|number| results[*number].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let kinds = results.iter().filter_map(|result| result.as_ref().err());
        assert!(kinds.into_iter().all(|error| error.kind() == TargetErrorKind::AlreadyExists));
        let winner = won[0];
        assert_eq!(
            clients[0].get_full(&name).await.unwrap(),
            vec![winner as u8; 1000 + winner],
            "round {round}"
        );
    }
    assert_eq!(leftovers(&path), 0);
}

/// Counts the buffers of a stream that are alive at once.
struct Buffer(Arc<AtomicUsize>, Vec<u8>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_needs_little_memory_and_arrives() {
    let (target, path) = fresh("stream").await;
    let alive = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (count, peak) = (alive.clone(), most.clone());
    let pieces = stream::iter(0..100_usize).map(move |number| {
        peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Ok(Bytes::from_owner(Buffer(count.clone(), pattern(MIB, number))))
    });
    let payload = Payload::Streamed(pieces.boxed());
    target.put(&key("a/large"), payload, PutMode::Create).await.unwrap();
    assert!(most.load(Ordering::SeqCst) <= 4, "{} buffers at once", most.load(Ordering::SeqCst));
    assert_eq!(target.head(&key("a/large")).await.unwrap().size_bytes, 100 * MIB as u64);
    let whole = target.get_full(&key("a/large")).await.unwrap();
    for number in 0..100 {
        assert!(whole[number * MIB..(number + 1) * MIB] == pattern(MIB, number), "MiB {number}");
    }
    let name = key("a/large");
    let odd = target.get_range(&name, 7 * MIB as u64 - 5, 9 * MIB as u64 + 11).await.unwrap();
    assert!(odd == whole[7 * MIB - 5..16 * MIB + 6]);
    assert_eq!(leftovers(&path), 0);
    target.delete(&key("a/large")).await.unwrap();
}

#[tokio::test]
async fn content_of_every_length_arrives_on_every_route() {
    let (target, path) = fresh("lengths").await;
    for length in [0, 1, 65_535, 65_536, 262_143, 262_144, 262_145, MIB - 1, MIB, MIB + 1] {
        let content = pattern(length, length);
        for is_streamed in [false, true] {
            let parts: Vec<Bytes> = content.chunks(100_003).map(Bytes::copy_from_slice).collect();
            let payload = if is_streamed {
                Payload::Streamed(stream::iter(parts.into_iter().map(Ok)).boxed())
            } else {
                Payload::Buffered(parts)
            };
            target.put(&key("x"), payload, PutMode::Replace).await.unwrap();
            assert!(target.get_full(&key("x")).await.unwrap() == content, "{length}");
            let tail = target.get_range(&key("x"), length as u64 / 2, u64::MAX).await.unwrap();
            assert!(tail == content[length / 2..], "{length}");
            assert!(target.get_range(&key("x"), length as u64, 5).await.unwrap().is_empty());
        }
    }
    assert!(target.get_range(&key("x"), u64::MAX, u64::MAX).await.unwrap().is_empty());
    assert_eq!(leftovers(&path), 0);
}

#[tokio::test]
async fn a_failing_stream_leaves_nothing() {
    let (target, path) = fresh("failing").await;
    let error = TargetError::new(TargetErrorKind::Invalid, Operation::Put, "the source broke");
    let mut pieces: Vec<_> = (0..20).map(|_| Ok(Bytes::from(vec![1; MIB]))).collect();
    pieces.push(Err(error));
    let payload = Payload::Streamed(stream::iter(pieces).boxed());
    let error = target.put(&key("a"), payload, PutMode::Create).await.unwrap_err();
    assert!(error.to_string().contains("the source broke"), "{error}");
    assert!(!target.exists(&key("a")).await.unwrap());
    assert_eq!(leftovers(&path), 0);
}

#[tokio::test]
async fn a_put_that_is_given_up_is_cleared_by_the_next() {
    let (target, path) = fresh("given-up").await;
    let pieces = stream::iter(vec![Ok(Bytes::from(vec![1; MIB]))]);
    let endless = Payload::Streamed(pieces.chain(stream::pending()).boxed());
    let name = key("a");
    let mut put = target.put(&name, endless, PutMode::Create);
    while leftovers(&path) == 0 {
        // Polled until the file is there, and dropped then.
        assert!(futures::poll!(&mut put).is_pending());
        tokio::task::yield_now().await;
    }
    drop(put);
    // The first ones may come before the server has noticed that nobody writes it any more.
    while leftovers(&path) > 0 {
        target.replace(&key("b"), vec![2]).await.unwrap();
    }
    assert!(!target.exists(&key("a")).await.unwrap());
}

#[tokio::test]
async fn leftovers_are_removed_when_they_are_a_day_old_and_nobody_writes_them() {
    let (target, path) = fresh("leftovers").await;
    target.create(&key("kept"), vec![1]).await.unwrap();
    let temp = on_disk(&path).join(".strongroom-tmp");
    let age = |name: &str, hours: u64| {
        let file = std::fs::File::create(temp.join(name)).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        file.set_times(std::fs::FileTimes::new().set_modified(then).set_accessed(then)).unwrap();
    };
    age("dead", 25);
    age("young", 23);
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.len(), 1);
    let again = Server::shared().open(&path).await.unwrap();
    assert_eq!(again.get_full(&key("kept")).await.unwrap(), [1].as_slice());
    let left: Vec<_> = std::fs::read_dir(&temp).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["young"]);
}

#[tokio::test]
async fn files_of_others_are_no_objects_and_folders_are_none_either() {
    let (target, path) = fresh("others").await;
    target.create(&key("a/b"), vec![1]).await.unwrap();
    let folder = on_disk(&path);
    for name in ["READ ME.txt", ".hidden", "a/Über", "a/.part"] {
        std::fs::write(folder.join(name), b"x").unwrap();
    }
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(target.head(&key("a")).await.unwrap_err().kind(), TargetErrorKind::NotFound);
    assert_eq!(target.get_full(&key("a")).await.unwrap_err().kind(), TargetErrorKind::NotFound);
    for mode in [PutMode::Create, PutMode::Replace] {
        let error = target.put(&key("a"), vec![1].into(), mode).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    }
    assert_eq!(target.get_full(&key("a/b")).await.unwrap(), [1].as_slice());
    assert_eq!(leftovers(&path), 0);
}

#[tokio::test]
async fn a_folder_that_vanished_is_made_again() {
    let (target, path) = fresh("vanished").await;
    target.create(&key("a/b/c"), vec![1]).await.unwrap();
    std::fs::remove_dir_all(on_disk(&path).join("a")).unwrap();
    let error = target.create(&key("a/b/d"), vec![1]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    target.create(&key("a/b/d"), vec![1]).await.unwrap();
    assert_eq!(leftovers(&path), 0);
}

#[tokio::test]
async fn a_full_disk_is_full_and_nothing_is_left() {
    let path = format!("{}/{}", share("TEST_SMB_SHARE_SMALL"), unique("full"));
    let target = Server::shared().create(&path).await.unwrap();
    let space = target.capabilities().await.unwrap().space.unwrap();
    assert_eq!(space.total_bytes, 16 << 20, "the share \"small\" is no tmpfs of 16 MiB");
    let parts = vec![Bytes::from(vec![5; MIB]); 24];
    let streamed = stream::iter(parts.clone()).map(Ok).boxed();
    for payload in [Payload::Buffered(parts), Payload::Streamed(streamed)] {
        let error = target.put(&key("a"), payload, PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Full, "{error}");
        assert!(error.hint_text().is_some());
        assert!(!target.exists(&key("a")).await.unwrap());
        assert_eq!(leftovers(&path), 0);
    }
    target.create(&key("b"), vec![1; MIB]).await.unwrap();
    let later = target.capabilities().await.unwrap().space.unwrap();
    assert!(later.available_bytes < space.available_bytes);
    target.delete(&key("b")).await.unwrap();
}

#[tokio::test]
async fn small_objects_cost_few_messages() {
    let (target, _) = fresh("messages").await;
    target.create(&key("a/first"), vec![1]).await.unwrap();
    let sent = || target.requests_sent().unwrap();
    let before = sent();
    for number in 0..8 {
        // Write, flush and close; name; flush and close of the folder.
        target.create(&key(&format!("a/{number}")), vec![1]).await.unwrap();
    }
    let put = sent() - before;
    assert!(put <= 8 * 5 + HANDSHAKE, "{put} messages");
    target.get_full(&key("a/first")).await.unwrap();
    target.get_full(&key("a/first")).await.unwrap();
    let before = sent();
    for _ in 0..8 {
        target.get_full(&key("a/first")).await.unwrap();
    }
    assert_eq!(sent() - before, 8);
}

/// A connection that is opened meanwhile: negotiate, two rounds to sign in, the share; and the
/// way of naming that is not known on the first create.
const HANDSHAKE: u64 = 4;
