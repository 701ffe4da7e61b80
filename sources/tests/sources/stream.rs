//! Readers as sources.

use std::{
    io::{self, Read},
    path::Path,
};

use strongroom_core::{
    entry::{EntryKind, FileTime, TreePath},
    error::ErrorKind,
    source::Source,
};
use strongroom_sources::stream::{StreamOptions, StreamSource};

use crate::support::Walked;

const TIME: FileTime = FileTime { seconds: 1_700_000_000, nanoseconds: 5 };

fn options(path: &str) -> StreamOptions {
    StreamOptions::new(path.as_bytes(), TIME).unwrap()
}

#[test]
fn a_reader_is_one_file() {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let source = StreamSource::new(options("stdin"), io::Cursor::new(content.clone()));
    assert_eq!(source.roots(), ["/stdin"]);
    let walked = Walked::of(&source);
    assert_eq!(walked.batches, [TreePath::root()]);
    let path = Path::new("/stdin");
    let stat = walked.stat(path);
    assert_eq!((stat.kind, stat.mode, stat.mtime), (EntryKind::File, 0o600, TIME));
    assert_eq!(stat.uid, rustix::process::geteuid().as_raw());
    assert_eq!(walked.details(path).unwrap().user.as_deref(), Some(b"root".as_slice()));
    assert_eq!(walked.read(path).unwrap(), content);
    // What was read is gone.
    assert!(walked.read(path).is_err());
}

#[test]
fn folders_on_the_way_are_made_up() {
    let source = StreamSource::new(options("/db/day/dump.sql"), io::empty());
    let walked = Walked::of(&source);
    let paths: Vec<String> = walked.entries.keys().map(TreePath::display).collect();
    assert_eq!(paths, ["db", "db/day", "db/day/dump.sql"]);
    assert_eq!(walked.batches.len(), 3);
    let folder = walked.stat(Path::new("/db/day"));
    assert_eq!((folder.kind, folder.mode), (EntryKind::Dir, 0o700));
    assert!(walked.read(Path::new("/db")).is_err());
    assert_eq!(walked.read(Path::new("/db/day/dump.sql")).unwrap(), b"");
    assert_eq!(source.roots(), ["/db/day/dump.sql"]);
}

#[test]
fn a_stream_has_neither_stat_nor_extents() {
    let source = StreamSource::new(options("x"), io::empty());
    let walked = Walked::of(&source);
    let seen = walked.seen(Path::new("/x"));
    let mut file = seen.folder.open(&seen.found).unwrap();
    assert_eq!(file.stat().unwrap(), None);
    assert!(file.next_extent(0).is_err());
}

#[test]
fn names_that_cannot_be_are_refused() {
    for path in ["", "/", "a//b", "a/", "..", "a/../b", ".", "nul\0"] {
        let error = StreamOptions::new(path.as_bytes(), TIME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
    }
}

/// Gives some bytes, is interrupted, gives some more, and fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        match self.0 {
            2 => Err(io::ErrorKind::Interrupted.into()),
            4 => Err(io::ErrorKind::BrokenPipe.into()),
            _ => {
                buffer[0] = 1;
                Ok(1)
            }
        }
    }
}

#[test]
fn errors_of_the_reader_are_errors_but_interruptions_are_not() {
    let walked = Walked::of(&StreamSource::new(options("x"), Failing(0)));
    let seen = walked.seen(Path::new("/x"));
    let mut file = seen.folder.open(&seen.found).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(file.read(&mut buffer).unwrap(), 1);
    assert_eq!(file.read(&mut buffer).unwrap(), 1);
    assert_eq!(file.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
