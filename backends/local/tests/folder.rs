//! What users of a local target rely on: errors, permissions, leftovers, a full disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    num::NonZeroU64,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, ObjectKey, Operation, Payload, PutMode, SharedTarget, TargetError,
        TargetErrorKind, TargetExt,
        conformance::{self, Options},
        layers::{
            ConcurrencyLimitLayer, FaultLayer, MetricsLayer, PrefixLayer, RateLimitConfig,
            RateLimitLayer, RecordLayer, RetryConfig, RetryLayer,
        },
    },
};
use strongroom_local::LocalTarget;
use tempfile::TempDir;

const TEMP_FOLDER: &str = ".strongroom-tmp";

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

async fn fresh() -> (TempDir, LocalTarget) {
    let folder = TempDir::new().unwrap();
    let target = LocalTarget::open(folder.path()).await.unwrap();
    (folder, target)
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_suite_passes() {
    let (folder, target) = fresh().await;
    let report = conformance::run(Arc::new(target), &Runtime::system(), &Options::default()).await;
    assert!(report.is_conformant(), "{report}");
    assert_eq!(fs::read_dir(folder.path().join(TEMP_FOLDER)).unwrap().count(), 0);
}

fn wrapped(target: &SharedTarget, runtime: &Runtime) -> Vec<SharedTarget> {
    let rate = NonZeroU64::new(1 << 40);
    let rates = RateLimitConfig { upload_bytes_per_second: rate, download_bytes_per_second: rate };
    let (target, clock) = (|| target.clone(), || runtime.clock.clone());
    vec![
        Arc::new(RetryLayer::new(target(), RetryConfig::default(), runtime.clone())),
        Arc::new(ConcurrencyLimitLayer::new(target(), 3)),
        Arc::new(RateLimitLayer::new(target(), rates, clock())),
        Arc::new(PrefixLayer::new(target(), KeyPrefix::parse("below").unwrap())),
        Arc::new(MetricsLayer::new(target())),
        Arc::new(RecordLayer::new(target())),
        Arc::new(FaultLayer::new(target(), clock())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_through_each_layer() {
    let (_folder, target) = fresh().await;
    let runtime = Runtime::system();
    let options = Options {
        listed_objects: 100,
        large_object_bytes: 2 << 20,
        creators: 8,
        rounds: 2,
        ..Options::default()
    };
    for target in wrapped(&(Arc::new(target) as SharedTarget), &runtime) {
        let report = conformance::run(target.clone(), &runtime, &options).await;
        assert!(report.is_conformant(), "{target:?}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_targets_on_the_same_folder_wins_a_create() {
    let folder = TempDir::new().unwrap();
    for round in 0..20 {
        let name = key(&format!("race/{round}"));
        let mut creators = Vec::new();
        for creator in 0..8u8 {
            let target = LocalTarget::open(folder.path()).await.unwrap();
            let name = name.clone();
            creators.push(tokio::spawn(async move {
                target.create(&name, vec![creator; 1000]).await.is_ok().then_some(creator)
            }));
        }
        let mut winners = Vec::new();
        for creator in creators {
            winners.extend(creator.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        let target = LocalTarget::open(folder.path()).await.unwrap();
        assert_eq!(target.get_full(&name).await.unwrap(), vec![winners[0]; 1000]);
    }
}

#[tokio::test]
async fn places_that_are_no_folder_are_named_with_a_hint() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, kind) in [
        (folder.path().join("missing"), TargetErrorKind::NotFound),
        (file.clone(), TargetErrorKind::Invalid),
        (file.join("below"), TargetErrorKind::Invalid),
        (PathBuf::new(), TargetErrorKind::NotFound),
    ] {
        let error = LocalTarget::open(&path).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (kind, Operation::Open), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.hint_text().is_some(), "{error}");
    }
    for path in [file.clone(), file.join("below")] {
        let error = LocalTarget::create(&path).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn create_makes_private_folders_and_opens_existing_ones() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/deeper");
    let target = LocalTarget::create(&path).await.unwrap();
    target.create(&key("a/b"), vec![1]).await.unwrap();
    for (below, mode) in
        [("", 0o700), ("..", 0o700), ("a", 0o700), (TEMP_FOLDER, 0o700), ("a/b", 0o600)]
    {
        assert_eq!(mode_of(&path.join(below)), mode, "{below}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let again = LocalTarget::create(&path).await.unwrap();
    assert!(again.exists(&key("a/b")).await.unwrap());
    assert_eq!(mode_of(&path), 0o750, "an existing folder keeps the mode that its owner chose");
}

#[tokio::test]
async fn paths_are_shown_whole_and_may_be_any_bytes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    let target = LocalTarget::create(&path).await.unwrap();
    target.create(&key("a"), vec![1]).await.unwrap();
    assert!(path.join("a").exists());
    assert!(target.to_string().starts_with(&folder.path().display().to_string()));
}

#[tokio::test]
async fn foreign_names_are_not_listed() {
    let (folder, target) = fresh().await;
    target.create(&key("a/good"), vec![1]).await.unwrap();
    for name in ["a/UPPER", "a/.hidden", "a/with space", ".dot", "a/ä", "a/new\nline", "Ü"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    fs::write(folder.path().join(OsStr::from_bytes(b"a/\xff")), "x").unwrap();
    fs::write(folder.path().join("a").join("l".repeat(129)), "x").unwrap();
    fs::create_dir_all(folder.path().join("Folder/deep")).unwrap();
    fs::write(folder.path().join("Folder/deep/a"), "x").unwrap();
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a/good"]);
}

#[tokio::test]
async fn pipes_and_folders_are_no_objects_and_block_nobody() {
    let (folder, target) = fresh().await;
    fs::create_dir(folder.path().join("folder")).unwrap();
    let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
    assert!(made.success());
    let error = target.get_full(&key("pipe")).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    assert!(!target.exists(&key("folder")).await.unwrap());
    target.delete(&key("folder")).await.unwrap();
    let error = target.create(&key("folder"), vec![1]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_object_in_the_way_of_a_folder_is_named() {
    let (_folder, target) = fresh().await;
    target.create(&key("a"), vec![1]).await.unwrap();
    let error = target.create(&key("a/b"), vec![2]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid);
    assert_eq!(error.key(), Some("a/b"));
    assert!(error.hint_text().is_some());
    assert_eq!(target.get_full(&key("a")).await.unwrap(), [1].as_slice());
}

fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

#[tokio::test]
async fn leftovers_go_when_they_are_a_day_old() {
    let (folder, target) = fresh().await;
    target.create(&key("a"), vec![1]).await.unwrap();
    let temp = folder.path().join(TEMP_FOLDER);
    for (name, hours) in [("old", 25), ("ancient", 24 * 365), ("young", 23), ("new", 0)] {
        fs::write(temp.join(name), "half").unwrap();
        age(&temp.join(name), hours);
    }
    age(&folder.path().join("a"), 1000);
    let target = LocalTarget::open(folder.path()).await.unwrap();
    let mut left: Vec<_> =
        fs::read_dir(&temp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["new", "young"]);
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn opening_to_read_writes_nothing() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "x").unwrap();
    let target = LocalTarget::open(folder.path()).await.unwrap();
    assert_eq!(target.get_full(&key("a")).await.unwrap(), "x");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_stream_that_fails_or_is_dropped_leaves_no_temporary_file() {
    let (folder, target) = fresh().await;
    let part = || Ok(Bytes::from(vec![7; 2 << 20]));
    let broken = TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "broken");
    let payload = Payload::Streamed(stream::iter(vec![part(), Err(broken)]).boxed());
    target.put(&key("a"), payload, PutMode::Create).await.unwrap_err();

    let endless = stream::iter([part()]).chain(stream::pending());
    let name = key("b");
    let mut put = target.put(&name, Payload::Streamed(endless.boxed()), PutMode::Create);
    let temp = folder.path().join(TEMP_FOLDER);
    let leftovers = || fs::read_dir(&temp).map_or(0, Iterator::count);
    while leftovers() == 0 {
        assert!(futures::poll!(&mut put).is_pending());
        tokio::task::yield_now().await;
    }
    drop(put);
    // The write that was under way ends on its own thread.
    while leftovers() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn head_and_list_agree_on_size_and_time() {
    let (folder, target) = fresh().await;
    target.create(&key("a/b"), vec![0; 321]).await.unwrap();
    age(&folder.path().join("a/b"), 24 * 365 * 60);
    let head = target.head(&key("a/b")).await.unwrap();
    assert_eq!(head.size_bytes, 321);
    assert!(head.modified_ms.unwrap() < 0, "before 1970: {head:?}");
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap(), [head]);
}

/// A small file system of our own, where we may mount one; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_deleting_still_works() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        eprintln!("skipped: mounting a file system needs privileges");
        return;
    };
    let target = LocalTarget::open(disk.0.path()).await.unwrap();
    let space = target.capabilities().await.unwrap().space.unwrap();
    assert_eq!(space.total_bytes, 1 << 20);
    target.create(&key("a"), vec![1; 700_000]).await.unwrap();
    let streamed = stream::iter((0..8).map(|_| Ok(Bytes::from(vec![2; 100_000])))).boxed();
    for payload in [Payload::from(vec![2; 700_000]), Payload::Streamed(streamed)] {
        let error = target.put(&key("b"), payload, PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Full, "{error}");
        assert!(error.hint_text().is_some() && !error.is_retryable());
    }
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
    assert_eq!(fs::read_dir(disk.0.path().join(TEMP_FOLDER)).unwrap().count(), 0);
    target.delete(&key("a")).await.unwrap();
    target.create(&key("b"), vec![2; 700_000]).await.unwrap();
}

#[tokio::test]
async fn a_disk_without_inodes_is_full_too() {
    let Some(disk) = SmallDisk::mount("size=1m,nr_inodes=5") else {
        eprintln!("skipped: mounting a file system needs privileges");
        return;
    };
    let target = LocalTarget::open(disk.0.path()).await.unwrap();
    let mut error = None;
    for number in 0..10 {
        error = error.or(target.create(&key(&format!("k/{number}")), vec![1]).await.err());
    }
    assert_eq!(error.map(|error| error.kind()), Some(TargetErrorKind::Full));
}

#[tokio::test]
async fn a_read_only_disk_can_be_read() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        eprintln!("skipped: mounting a file system needs privileges");
        return;
    };
    let target = LocalTarget::open(disk.0.path()).await.unwrap();
    target.create(&key("a"), vec![1]).await.unwrap();
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status();
    assert!(remount.unwrap().success());
    let target = LocalTarget::open(disk.0.path()).await.unwrap();
    assert_eq!(target.get_full(&key("a")).await.unwrap(), [1].as_slice());
    let error = target.create(&key("b"), vec![1]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
    let error = target.delete(&key("a")).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
}
