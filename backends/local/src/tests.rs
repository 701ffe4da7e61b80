//! The backend from inside: both ways to resolve paths, and a put stopped after every step.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, ObjectKey, PutMode, SharedTarget, TargetErrorKind, TargetExt,
        conformance::{self, Options},
    },
};
use tempfile::TempDir;

use crate::{
    LocalTarget,
    root::{Resolver, Root},
    write::{TEMP_FOLDER, TempFile},
};

const RESOLVERS: [Resolver; 2] = [Resolver::Kernel, Resolver::Segments];

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn root_at(path: &Path, resolver: Resolver) -> Root {
    Root::open(path).unwrap().resolved_by(resolver)
}

fn target_at(path: &Path, resolver: Resolver) -> LocalTarget {
    LocalTarget::from_root(root_at(path, resolver))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_with_either_resolver() {
    for resolver in RESOLVERS {
        let folder = TempDir::new().unwrap();
        let target: SharedTarget = Arc::new(target_at(folder.path(), resolver));
        let options = Options { listed_objects: 500, rounds: 4, ..Options::default() };
        let report = conformance::run(target, &Runtime::system(), &options).await;
        assert!(report.is_conformant(), "{resolver:?}\n{report}");
    }
}

/// A victim outside the root, and links to it planted at every place a path could go through.
fn planted() -> (TempDir, TempDir) {
    let (outside, inside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(outside.path().join("victim"), "secret").unwrap();
    std::fs::create_dir(inside.path().join("folder")).unwrap();
    let victim = outside.path().join("victim");
    symlink(&victim, inside.path().join("link")).unwrap();
    symlink(&victim, inside.path().join("folder/link")).unwrap();
    symlink("../../victim", inside.path().join("folder/relative")).unwrap();
    symlink(outside.path(), inside.path().join("away")).unwrap();
    symlink(outside.path(), inside.path().join("folder/away")).unwrap();
    (outside, inside)
}

#[tokio::test]
async fn planted_links_lead_nowhere() {
    for resolver in RESOLVERS {
        let (outside, inside) = planted();
        let target = target_at(inside.path(), resolver);
        for name in ["link", "folder/link", "folder/relative", "away/victim", "folder/away/victim"]
        {
            let error = target.get_full(&key(name)).await.unwrap_err();
            assert_ne!(error.kind(), TargetErrorKind::NotFound, "{resolver:?} {error}");
            assert!(error.hint_text().is_some(), "{error}");
            target.head(&key(name)).await.unwrap_err();
            target.create(&key(name), b"new".to_vec()).await.unwrap_err();
        }
        for name in ["away/new", "folder/away/new"] {
            target.create(&key(name), b"new".to_vec()).await.unwrap_err();
            target.replace(&key(name), b"new".to_vec()).await.unwrap_err();
        }
        let _ = target.delete(&key("away/victim")).await;
        let _ = target.delete(&key("folder/away/victim")).await;
        for prefix in ["", "away", "folder/away", "link"] {
            let prefix = KeyPrefix::parse(prefix).unwrap();
            assert!(target.list_all(&prefix).await.unwrap().is_empty(), "{prefix}");
        }
        let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{resolver:?}");
        assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"secret");
    }
}

#[tokio::test]
async fn a_link_in_place_of_an_object_is_replaced_or_deleted_itself() {
    for resolver in RESOLVERS {
        let (outside, inside) = planted();
        let target = target_at(inside.path(), resolver);
        target.replace(&key("link"), b"new".to_vec()).await.unwrap();
        assert_eq!(target.get_full(&key("link")).await.unwrap(), "new");
        target.delete(&key("folder/link")).await.unwrap();
        assert!(!inside.path().join("folder/link").is_symlink());
        assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"secret");
    }
}

#[tokio::test]
async fn a_linked_temporary_folder_is_refused() {
    for resolver in RESOLVERS {
        let (outside, inside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        symlink(outside.path(), inside.path().join(TEMP_FOLDER)).unwrap();
        let target = target_at(inside.path(), resolver);
        target.create(&key("a"), b"new".to_vec()).await.unwrap_err();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

/// What a process that dies leaves: its memory is gone, no destructor runs.
fn die(temp: TempFile) {
    std::mem::forget(temp);
}

#[tokio::test]
async fn a_put_that_dies_before_its_end_leaves_nothing_visible() {
    let folder = TempDir::new().unwrap();
    let root = Arc::new(Root::open(folder.path()).unwrap());
    let target = LocalTarget::open(folder.path()).await.unwrap();
    target.create(&key("kept"), b"old".to_vec()).await.unwrap();

    die(TempFile::new(&root).unwrap());
    let mut temp = TempFile::new(&root).unwrap();
    temp.write(&[Bytes::from_static(b"half")]).unwrap();
    die(temp);

    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(std::fs::read_dir(folder.path().join(TEMP_FOLDER)).unwrap().count(), 2);
    // The next process works on without a manual step.
    target.create(&key("half"), b"whole".to_vec()).await.unwrap();
    assert_eq!(target.get_full(&key("half")).await.unwrap(), "whole");
}

#[test]
fn what_is_dropped_unpublished_is_removed() {
    let folder = TempDir::new().unwrap();
    let root = Arc::new(Root::open(folder.path()).unwrap());
    drop(TempFile::new(&root).unwrap());
    let temp = TempFile::new(&root).unwrap();
    temp.publish(&key("a/b"), PutMode::Create).unwrap();
    let error = TempFile::new(&root).unwrap().publish(&key("a/b"), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::AlreadyExists);
    TempFile::new(&root).unwrap().publish(&key("a"), PutMode::Replace).unwrap_err();
    TempFile::new(&root).unwrap().publish(&key("a/b/c"), PutMode::Replace).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path().join(TEMP_FOLDER)).unwrap().count(), 0);
}

#[test]
fn thousands_of_buffers_are_written_in_order() {
    let folder = TempDir::new().unwrap();
    let root = Arc::new(Root::open(folder.path()).unwrap());
    let whole: Vec<u8> = (0..50_000u32).map(|number| (number * 7) as u8).collect();
    // Pieces of no, one and two bytes.
    let mut rest = Bytes::from(whole.clone());
    let mut parts = Vec::new();
    while !rest.is_empty() {
        parts.push(rest.split_to((parts.len() % 3).min(rest.len())));
    }
    let mut temp = TempFile::new(&root).unwrap();
    temp.write(&parts).unwrap();
    temp.write(&[Bytes::new()]).unwrap();
    temp.publish(&key("a"), PutMode::Create).unwrap();
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), whole);
}

/// Lengths around the sizes at which content changes its route, in pieces that never align.
#[test]
fn content_of_every_length_arrives_on_every_route() {
    const MIB: usize = 1 << 20;
    let folder = TempDir::new().unwrap();
    let root = Arc::new(Root::open(folder.path()).unwrap());
    let whole: Vec<u8> = (0..3 * MIB + 10_000).map(|at| (at % 251) as u8).collect();
    for length in [0, 1, MIB - 1, MIB, MIB + 1, MIB + 4096, 2 * MIB - 1, 2 * MIB, whole.len()] {
        for piece in [100_003, MIB, whole.len()] {
            for is_at_once in [true, false] {
                let parts: Vec<Bytes> =
                    whole[..length].chunks(piece).map(Bytes::copy_from_slice).collect();
                let mut temp = TempFile::new(&root).unwrap();
                let batch = if is_at_once { parts.len().max(1) } else { 1 };
                parts.chunks(batch).for_each(|parts| temp.write(parts).unwrap());
                temp.publish(&key("a"), PutMode::Replace).unwrap();
                let found = std::fs::read(folder.path().join("a")).unwrap();
                assert!(found == whole[..length], "{length} bytes by {piece}, {is_at_once}");
            }
        }
    }
}

#[test]
fn a_folder_that_vanished_is_made_again() {
    let folder = TempDir::new().unwrap();
    let root = Root::open(folder.path()).unwrap();
    root.make_folder("a/b/c").unwrap();
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    root.make_folder("a/b/c").unwrap();
    let mode = std::fs::metadata(folder.path().join("a/b/c")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}
