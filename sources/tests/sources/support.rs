//! What the tests share: scratch folders, walks as maps, and children with other limits.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::fs::{CWD, FileType, Mode};
use strongroom_core::{
    entry::{Details, Entry, EntryKind, Stat, TreePath},
    monitor::Problem,
    source::{Folder, Found, Sink, SinkDir, Source},
};
use strongroom_sources::{
    files::{FileSource, FileSourceOptions},
    sink::{FileSink, FileSinkOptions},
};
use tempfile::TempDir;

/// A folder for one test, without links in its path.
pub fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

/// All that a walk gave.
#[derive(Default)]
pub struct Walked {
    /// The entries by path.
    pub entries: BTreeMap<TreePath, Seen>,
    /// The folders that had a batch, in order.
    pub batches: Vec<TreePath>,
    pub problems: Vec<Problem>,
}

pub struct Seen {
    pub found: Found,
    pub folder: Arc<dyn Folder>,
}

impl Walked {
    pub fn of(source: &dyn Source) -> Self {
        let mut walked = Self::default();
        let mut scan = source.scan().unwrap();
        while let Some(batch) = scan.next_batch().unwrap() {
            for found in batch.entries {
                let folder = Arc::clone(&batch.folder);
                let previous =
                    walked.entries.insert(batch.path.join(&found.name), Seen { found, folder });
                assert!(previous.is_none(), "an entry came twice");
            }
            walked.batches.push(batch.path);
            walked.problems.extend(batch.problems);
        }
        walked
    }

    /// The paths relative to `base`, of what lies below it.
    pub fn below(&self, base: &Path) -> Vec<String> {
        let base = tree_path(base);
        let relative = |path: &TreePath| {
            let inner = path.is_within(&base) && *path != base;
            inner.then(|| path.display()[base.display().len() + 1..].to_owned())
        };
        self.entries.keys().filter_map(relative).collect()
    }

    pub fn seen(&self, path: &Path) -> &Seen {
        self.entries.get(&tree_path(path)).unwrap_or_else(|| panic!("{path:?} was not found"))
    }

    pub fn stat(&self, path: &Path) -> Stat {
        self.seen(path).found.stat
    }

    pub fn details(&self, path: &Path) -> io::Result<Details> {
        let seen = self.seen(path);
        seen.folder.details(&seen.found)
    }

    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let seen = self.seen(path);
        read_all(seen.folder.as_ref(), &seen.found)
    }
}

pub fn read_all(folder: &dyn Folder, found: &Found) -> io::Result<Vec<u8>> {
    let mut file = folder.open(found)?;
    let (mut content, mut buffer) = (Vec::new(), [0; 1_000]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => content.extend_from_slice(&buffer[..length]),
        }
    }
    file.finish()?;
    Ok(content)
}

/// An absolute path as one in a snapshot.
pub fn tree_path(path: &Path) -> TreePath {
    let bytes = path.as_os_str().as_bytes();
    TreePath::parse(bytes.strip_prefix(b"/").unwrap()).unwrap()
}

pub fn source(options: FileSourceOptions) -> FileSource {
    FileSource::new(options).unwrap()
}

/// Walks one root with nothing left out.
pub fn walk(root: &Path) -> Walked {
    walk_with(root, FileSourceOptions::default())
}

pub fn walk_with(root: &Path, options: FileSourceOptions) -> Walked {
    Walked::of(&source(FileSourceOptions { roots: vec![root.to_owned()], ..options }))
}

pub fn bytes_path(base: &Path, name: &[u8]) -> PathBuf {
    base.join(OsStr::from_bytes(name))
}

pub fn make_node(path: &Path, kind: FileType, device: (u32, u32)) {
    let number = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path, kind, Mode::from(0o640), number).unwrap();
}

/// A sink with default options and its root.
pub fn sink(path: &Path) -> Arc<dyn SinkDir> {
    sink_with(path, FileSinkOptions::default())
}

pub fn sink_with(path: &Path, options: FileSinkOptions) -> Arc<dyn SinkDir> {
    FileSink::new(path, options).root().unwrap()
}

/// An entry with harmless metadata.
pub fn entry(name: &[u8], kind: EntryKind) -> Entry {
    Entry {
        name: name.to_vec(),
        stat: Stat {
            kind,
            mode: 0o644,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            size: 0,
            allocated_bytes: 0,
            mtime: Default::default(),
            ctime: Default::default(),
            inode: 0,
            device: 0,
            links: 1,
            device_number: 0,
        },
        details: Details::default(),
        content: Default::default(),
        is_torn: false,
    }
}

/// Restores a file with `content` under `name`.
pub fn write_file(folder: &dyn SinkDir, entry: &Entry, content: &[u8]) -> Vec<String> {
    let file = folder.create_file(&entry.name, content.len() as u64).unwrap();
    file.write_at(0, content).unwrap();
    file.finish(entry).unwrap()
}

/// Makes a chain of `depth` folders called `name`, which no path could name; gives the last one.
pub fn make_chain(base: &Path, name: &str, depth: usize) -> rustix::fd::OwnedFd {
    use rustix::fs::{OFlags, mkdirat, open, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(base, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, name, Mode::RWXU).unwrap();
        folder = openat(&folder, name, flags, Mode::empty()).unwrap();
    }
    folder
}

/// Runs `test` again in a child started by `wrapper`, a command that ends in running its
/// arguments. True in that child: the test itself is to be run there.
pub fn is_inside(test: &str, wrapper: &[&str]) -> bool {
    const MARK: &str = "STRONGROOM_TEST_INSIDE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let status = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its child");
    false
}

/// Runs a command that prepares something.
pub fn run(command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).status().unwrap();
    assert!(status.success(), "{command:?}");
}

/// Runs `test` in a thread that has the rights of an ordinary user only.
pub fn as_nobody(test: impl FnOnce() + Send + 'static) {
    use rustix::{process, thread};
    let outcome = std::thread::spawn(|| {
        let (user, group) = (process::Uid::from_raw(65_534), process::Gid::from_raw(65_534));
        thread::set_thread_groups(&[]).unwrap();
        thread::set_thread_res_gid(group, group, group).unwrap();
        thread::set_thread_res_uid(user, user, user).unwrap();
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives a folder and all in it to the user of [`as_nobody`].
pub fn give_to_nobody(path: &Path) {
    run(&["chown", "-R", "65534:65534", path.to_str().unwrap()]);
}
