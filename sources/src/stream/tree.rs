//! The tree around a stream: made-up folders that lead to one file.
//!
//! Knows nothing of where the content comes from.

use std::{fmt, io, sync::Arc};

use strongroom_core::{
    entry::{Details, EntryKind, Stat, TreePath},
    source::{Batch, Folder, Found, Scan, Source, SourceFile},
};

use super::StreamOptions;
use crate::system::owners::Owners;

/// Where a stream's content comes from.
pub(super) trait Opener: fmt::Debug + Send + Sync {
    /// Starts reading.
    fn open(&self) -> io::Result<Box<dyn SourceFile>>;
}

/// A source with one file, and the folders that lead to it.
#[derive(Debug)]
pub(super) struct StreamTree {
    options: StreamOptions,
    /// Also the stat of the folders, but for kind and mode.
    stat: Stat,
    folder: Arc<StreamFolder>,
}

/// Any of the folders.
#[derive(Debug)]
struct StreamFolder {
    opener: Box<dyn Opener>,
    details: Details,
}

impl StreamTree {
    pub(super) fn new(options: StreamOptions, opener: impl Opener + 'static) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let owners = Owners::default();
        let details = Details {
            user: owners.user_name(uid),
            group: owners.group_name(gid),
            ..Details::default()
        };
        let stat = Stat {
            kind: EntryKind::File,
            mode: 0o600,
            uid,
            gid,
            size: 0,
            allocated_bytes: 0,
            mtime: options.time,
            ctime: options.time,
            inode: 0,
            device: 0,
            links: 1,
            device_number: 0,
        };
        let folder = Arc::new(StreamFolder { opener: Box::new(opener), details });
        Self { options, stat, folder }
    }
}

impl Source for StreamTree {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let names = self.options.path.names().map(<[u8]>::to_vec).collect();
        Ok(Box::new(StreamScan { tree: self, names, path: TreePath::root(), depth: 0 }))
    }

    fn roots(&self) -> Vec<String> {
        vec![format!("/{}", self.options.path.display())]
    }

    fn is_all_or_nothing(&self) -> bool {
        true
    }
}

/// A walk down to the file.
struct StreamScan<'a> {
    tree: &'a StreamTree,
    names: Vec<Vec<u8>>,
    path: TreePath,
    depth: usize,
}

impl Scan for StreamScan<'_> {
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let Some(name) = self.names.get(self.depth) else { return Ok(None) };
        self.depth += 1;
        let mut stat = self.tree.stat;
        if self.depth < self.names.len() {
            (stat.kind, stat.mode) = (EntryKind::Dir, 0o700);
        }
        let below = self.path.join(name);
        Ok(Some(Batch {
            path: std::mem::replace(&mut self.path, below),
            entries: vec![Found { name: name.clone(), stat }],
            folder: Arc::clone(&self.tree.folder) as Arc<dyn Folder>,
            problems: Vec::new(),
        }))
    }
}

impl Folder for StreamFolder {
    fn details(&self, _: &Found) -> io::Result<Details> {
        Ok(self.details.clone())
    }

    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>> {
        if found.stat.kind != EntryKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        self.opener.open()
    }
}
