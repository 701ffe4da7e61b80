//! Random trees into random places: what comes out is always the snapshot.

use proptest::{prelude::*, test_runner::TestCaseError};

use super::*;
use crate::restore::Overwrite;

const NAMES: [&str; 5] = ["a", "b", "a-b", "c.d", "e"];

/// A place for something: one to three names.
fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join("/"))
}

#[derive(Debug, Clone)]
enum Thing {
    File { content: u64, length: usize },
    Sparse { length: usize },
    Folder,
    Link,
    Named { inode: u64 },
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (0u64..6, 0usize..60_000)
            .prop_map(|(content, length)| Thing::File { content, length }),
        1 => (0usize..200_000).prop_map(|length| Thing::Sparse { length }),
        1 => Just(Thing::Folder),
        1 => Just(Thing::Link),
        2 => (1u64..4).prop_map(|inode| Thing::Named { inode }),
    ]
}

/// Puts a thing where nothing else is in the way.
fn put(source: &MemorySource, path: &str, thing: &Thing) {
    let seen = source.see();
    let here = crate::testing::world::path(path);
    let is_blocked = seen.iter().any(|(other, node)| {
        other.is_within(&here) || here.is_within(other) && node.stat.kind != EntryKind::Dir
    });
    if is_blocked {
        return;
    }
    match thing {
        Thing::File { content, length } => source.put(path, noise(*content, *length)),
        Thing::Sparse { length } => {
            let mut content = vec![0; *length];
            content[length / 2..].iter_mut().take(5_000).for_each(|byte| *byte = 7);
            source.put(path, content);
            source.edit(path, |node| node.stat.allocated_bytes = 0);
        }
        Thing::Folder => source.put_other(path, EntryKind::Dir, None),
        Thing::Link => source.put_other(path, EntryKind::Symlink, Some("a/b")),
        Thing::Named { inode } => {
            source.put(path, noise(100 + inode, 9_000));
            source.edit(path, |node| {
                node.stat = crate::entry::Stat {
                    inode: *inode,
                    links: 20,
                    mtime: time(3),
                    ctime: time(3),
                    ..node.stat
                };
            });
        }
    }
}

fn check(
    wanted: Vec<(String, Thing)>,
    existing: Vec<(String, Thing)>,
    workers: usize,
) -> Result<(), TestCaseError> {
    let (source, before) = (MemorySource::default(), MemorySource::default());
    wanted.iter().for_each(|(path, thing)| put(&source, path, thing));
    existing.iter().for_each(|(path, thing)| put(&before, path, thing));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        // what is there already comes from another snapshot
        let mut scene = Scene::of(before).await;
        scene.restore(&RestoreOptions { workers, ..Default::default() }).await;
        scene.assert_restored();
        scene.source = Arc::new(source);
        scene.snapshot = scene.world.backup(&scene.source).await;
        let options = RestoreOptions { workers, delete: true, verify: true, ..Default::default() };
        let planned = scene.restore(&RestoreOptions { is_dry_run: true, ..options.clone() }).await;
        let done = scene.restore(&options).await;
        scene.assert_restored();
        assert_eq!(planned.files_restored + planned.files_unchanged, done.files_verified);
        assert_eq!(done.files_restored + done.files_unchanged, done.files_verified);
        let written = scene.sink.written_bytes();
        for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::Never] {
            let again = scene.restore(&RestoreOptions { overwrite, ..options.clone() }).await;
            assert_eq!((again.files_restored, again.bytes_fetched, again.deleted), (0, 0, 0));
        }
        assert_eq!(scene.sink.written_bytes(), written);
        scene.assert_restored();
    });
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_sink_becomes_the_snapshot(
        wanted in prop::collection::vec((place(), thing()), 0..25),
        existing in prop::collection::vec((place(), thing()), 0..25),
        workers in 1usize..4,
    ) {
        check(wanted, existing, workers)?;
    }
}
