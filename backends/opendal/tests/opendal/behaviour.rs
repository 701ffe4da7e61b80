//! What OpenDAL asks of a service that offers stat, read, write, delete and list, asked of our
//! targets through the adapter. OpenDAL's own behaviour tests are in no published crate; these
//! are the ones that apply, in our words.
//!
//! Left out, with the reason:
//! - names with upper case, spaces or characters beyond ASCII: they are no keys
//!   (see `names_that_are_no_keys_are_refused`);
//! - folders as entries of their own (`create_dir`, `stat` of a folder): a target has none;
//! - copy, rename, append, presign, versions, user metadata, content types, conditions other than
//!   create-if-absent: a target has none.

use std::sync::Arc;

use futures::TryStreamExt;
use opendal::{EntryMode, ErrorKind, Operator, Result};
use strongroom_core::target::{MemoryTarget, SharedTarget};

use crate::{adapter::operator, servers};

/// Bytes that repeat late, so that a shifted range shows.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn behaves(target: SharedTarget) {
    let operator = operator(target);
    operator.check().await.unwrap();
    writes_and_stats(&operator).await;
    reads_ranges(&operator).await;
    streams_in_chunks(&operator).await;
    creates_only_if_absent(&operator).await;
    deletes(&operator).await;
    lists(&operator).await;
    names_that_are_no_keys_are_refused(&operator).await;
}

async fn writes_and_stats(operator: &Operator) {
    for (path, length) in [("write/one", 1), ("write/none", 0), ("write/many", 3 << 20)] {
        let written = operator.write(path, content(length)).await.unwrap();
        assert_eq!(written.content_length(), length as u64);
        let found = operator.stat(path).await.unwrap();
        assert_eq!((found.mode(), found.content_length()), (EntryMode::FILE, length as u64));
        assert_eq!(operator.read(path).await.unwrap().to_vec(), content(length), "{path}");
    }
    operator.write("write/one", content(5000)).await.unwrap();
    assert_eq!(operator.read("write/one").await.unwrap().len(), 5000, "overwritten");
    assert_eq!(kind(operator.write("write/", content(1)).await), ErrorKind::IsADirectory);
    assert_eq!(kind(operator.stat("write/absent").await), ErrorKind::NotFound);
    assert!(operator.exists("write/many").await.unwrap());
    assert!(!operator.exists("write/absent").await.unwrap());
    assert_eq!(operator.stat("/").await.unwrap().mode(), EntryMode::DIR);
}

async fn reads_ranges(operator: &Operator) {
    let whole = content(100_000);
    operator.write("read/ranges", whole.clone()).await.unwrap();
    for (from, to) in [(0, 1), (0, 100_000), (777, 99_999), (99_999, 100_000), (5, 5)] {
        let part = operator.read_with("read/ranges").range(from as u64..to as u64).await.unwrap();
        assert_eq!(part.to_vec(), whole[from..to], "{from}..{to}");
    }
    let tail = operator.read_with("read/ranges").range(99_000..).await.unwrap();
    assert_eq!(tail.to_vec(), whole[99_000..]);
    let reader = operator.reader_with("read/ranges").chunk(4096).concurrent(4).await.unwrap();
    assert_eq!(reader.read(..).await.unwrap().to_vec(), whole, "in chunks, side by side");
    let ranges = reader.fetch(vec![10..20, 0..5, 50_000..60_000]).await.unwrap();
    assert_eq!(ranges[2].to_vec(), whole[50_000..60_000]);
    assert_eq!(kind(operator.read("read/absent").await), ErrorKind::NotFound);
    assert_eq!(kind(operator.read("read/").await), ErrorKind::IsADirectory);
}

async fn streams_in_chunks(operator: &Operator) {
    let whole = content(1_500_000);
    let mut writer = operator.writer_with("stream/new").chunk(400_000).await.unwrap();
    for part in whole.chunks(99_991) {
        writer.write(part.to_vec()).await.unwrap();
    }
    assert!(!operator.exists("stream/new").await.unwrap(), "nothing before the end");
    writer.close().await.unwrap();
    assert_eq!(operator.read("stream/new").await.unwrap().to_vec(), whole);
    let mut writer = operator.writer("stream/aborted").await.unwrap();
    writer.write(content(1000)).await.unwrap();
    writer.abort().await.unwrap();
    assert!(!operator.exists("stream/aborted").await.unwrap());
}

async fn creates_only_if_absent(operator: &Operator) {
    operator.write_with("create/new", content(10)).if_not_exists(true).await.unwrap();
    let again = operator.write_with("create/new", content(20)).if_not_exists(true).await;
    assert_eq!(kind(again), ErrorKind::ConditionNotMatch);
    assert_eq!(operator.read("create/new").await.unwrap().len(), 10);
}

async fn deletes(operator: &Operator) {
    operator.write("delete/one", content(1)).await.unwrap();
    operator.delete("delete/one").await.unwrap();
    operator.delete("delete/one").await.unwrap();
    assert!(!operator.exists("delete/one").await.unwrap());
    let paths: Vec<String> = (0..20).map(|number| format!("delete/many/{number}")).collect();
    for path in &paths {
        operator.write(path, content(2)).await.unwrap();
    }
    operator.delete_iter(paths[..10].to_vec()).await.unwrap();
    assert_eq!(operator.list("delete/many/").await.unwrap().len(), 10);
    operator.delete_iter(paths[10..].to_vec()).await.unwrap();
    assert!(operator.list("delete/many/").await.unwrap().is_empty());
}

async fn lists(operator: &Operator) {
    let paths = ["list/a", "list/b/1", "list/b/2", "list/c/d/1", "list-b/1"];
    for path in paths {
        operator.write(path, content(path.len())).await.unwrap();
    }
    let names = |entries: Vec<opendal::Entry>| {
        let mut names: Vec<String> = entries.iter().map(|entry| entry.path().to_owned()).collect();
        names.sort_unstable();
        names
    };
    let flat = names(operator.list("list/").await.unwrap());
    assert_eq!(flat, ["list/a", "list/b/", "list/c/"]);
    let all = operator.list_with("list/").recursive(true).await.unwrap();
    for entry in &all {
        assert_eq!(entry.metadata().content_length(), entry.path().len() as u64);
    }
    assert_eq!(names(all), ["list/a", "list/b/1", "list/b/2", "list/c/d/1"]);
    let inside_a_name = operator.list_with("list").recursive(true).await.unwrap();
    assert_eq!(inside_a_name.len(), 5);
    assert!(operator.list("list/absent/").await.unwrap().is_empty());
    let mut lister = operator.lister_with("/").recursive(true).await.unwrap();
    let mut found = 0;
    while let Some(entry) = lister.try_next().await.unwrap() {
        found += usize::from(entry.path().starts_with("list"));
    }
    assert_eq!(found, 5);
}

async fn names_that_are_no_keys_are_refused(operator: &Operator) {
    for path in ["Upper", "with space", "ünïcode", ".hidden", "a/.b"] {
        assert_eq!(kind(operator.write(path, content(1)).await), ErrorKind::Unsupported, "{path}");
        assert_eq!(kind(operator.stat(path).await), ErrorKind::NotFound, "{path}");
        operator.delete(path).await.unwrap();
    }
}

#[tokio::test]
async fn memory_target() {
    behaves(Arc::new(MemoryTarget::new())).await;
}

#[tokio::test]
async fn local_target() {
    let folder = tempfile::tempdir().unwrap();
    let target = strongroom_local::LocalTarget::open(folder.path()).await.unwrap();
    behaves(Arc::new(target)).await;
}

/// Through both adapters: OpenDAL on a target on OpenDAL.
#[tokio::test]
async fn sftp_target() {
    behaves(servers::create(&servers::sftp(&servers::unique("~/behaviour"))).await).await;
}

#[tokio::test]
async fn webdav_target() {
    behaves(servers::create(&servers::webdav(&servers::unique("behaviour"))).await).await;
}
