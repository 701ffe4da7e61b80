//! The walk over a file source: depth first, by name, one folder at a time.
//!
//! Folders are opened one below the other by their names and never by a path, so that neither
//! depth nor length of paths is limited, and a link that is put in the way leads nowhere. The
//! folders above the current one are kept open, but only the nearest of them; the others are
//! found again through `..`, and checked to be the same.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    io,
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, OFlags},
    io::Errno,
};
use strongroom_core::{
    entry::TreePath,
    monitor::Problem,
    source::{Batch, Folder, Found, Scan},
};

use super::{
    FileSource,
    content::{Step, Target, push_name},
    folder::{ClosedFolder, FileFolder},
    problems::{not_opened, note, problem},
    roots::Branch,
};
use crate::system::{
    listing::Listing,
    node::OPEN_SAFELY,
    stat::{FolderId, stat_open},
};

/// How many folders above the current one are kept open.
const OPEN_FOLDERS_MAX: usize = 64;

/// What to open a folder with.
const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OPEN_SAFELY);

/// A running walk.
pub(super) struct Walk<'a> {
    source: &'a FileSource,
    /// The folders from the top to the current one.
    frames: Vec<Frame<'a>>,
    /// The path of the current folder.
    path: Vec<u8>,
    listing: Listing,
    /// The root folder of the machine, until the walk has entered it.
    start: Option<OwnedFd>,
}

/// A folder that the walk is in.
struct Frame<'a> {
    /// Its descriptor; `None` if it was closed to save descriptors.
    folder: Option<Arc<FileFolder>>,
    id: FolderId,
    scope: Scope<'a>,
    /// The folders in it that are still to be entered, the next one last.
    pending: Vec<Step<'a>>,
    /// The length of its path.
    path_bytes: usize,
}

/// How much of a folder is taken.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// It lies in (or is) a root on this device.
    Whole { root_device: u64 },
    /// It lies above roots.
    Towards(&'a BTreeMap<Vec<u8>, Branch>),
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a FileSource) -> io::Result<Self> {
        let start = source.shared.open(CWD, c"/", OPEN_FOLDER, 0)?;
        Ok(Self {
            source,
            frames: Vec::new(),
            path: Vec::new(),
            listing: Listing::new(),
            start: Some(start),
        })
    }

    /// Opens the folder of `step` and gives its batch; the walk is then in that folder, unless
    /// there is nothing to enter below it.
    fn enter(&mut self, step: Step<'a>) -> Batch {
        push_name(&mut self.path, &step.name);
        let opened = match self.open(&step) {
            Ok(descriptor) => self.enter_open(descriptor, step.target),
            Err(error) => Err(not_opened(&self.path, &error)),
        };
        opened.unwrap_or_else(|problem| {
            let batch = self.batch(Arc::new(ClosedFolder), Vec::new(), vec![problem]);
            let parent_bytes = self.frames.last().map_or(0, |frame| frame.path_bytes);
            self.path.truncate(parent_bytes);
            batch
        })
    }

    /// Enters an open folder, or says why not.
    fn enter_open(&mut self, descriptor: OwnedFd, target: Target<'a>) -> Result<Batch, Problem> {
        let stat = stat_open(&descriptor)
            .map_err(|error| problem(&self.path, format!("cannot be read: {error}")))?;
        let id = FolderId::from(&stat);
        let scope = match target {
            Target::Branch(Branch::Whole) => Scope::Whole { root_device: id.device },
            Target::Branch(Branch::Towards(children)) => Scope::Towards(children),
            Target::Inner { root_device } => Scope::Whole { root_device },
        };
        if let Target::Inner { .. } = target {
            self.check_boundaries(descriptor.as_fd(), id, scope)?;
        }
        let folder = Arc::new(FileFolder::new(descriptor, Arc::clone(&self.source.shared)));
        let source = self.source;
        let mut content = match scope {
            Scope::Whole { root_device } => {
                source.read_whole(folder.descriptor(), &self.path, root_device, &mut self.listing)
            }
            Scope::Towards(children) => {
                source.read_towards(folder.descriptor(), &self.path, children)
            }
        };
        content.steps.reverse();
        let batch = self.batch(folder.clone(), content.entries, content.problems);
        self.frames.push(Frame {
            folder: Some(folder),
            id,
            scope,
            pending: content.steps,
            path_bytes: self.path.len(),
        });
        if let Some(far) = self.frames.len().checked_sub(OPEN_FOLDERS_MAX + 1) {
            self.frames[far].folder = None;
        }
        Ok(batch)
    }

    /// Says why an inner folder is not entered: another file system, one that is no storage, or
    /// a folder that the walk is in already.
    fn check_boundaries(
        &self,
        descriptor: BorrowedFd<'_>,
        id: FolderId,
        scope: Scope<'a>,
    ) -> Result<(), Problem> {
        let parent_device = self.frames.last().map_or(id.device, |frame| frame.id.device);
        if let Scope::Whole { root_device } = scope
            && self.source.one_file_system
            && id.device != root_device
        {
            return Err(note(&self.path, "another file system is mounted here: left out"));
        }
        if id.device != parent_device
            && let Some(name) = virtual_file_system(descriptor)
        {
            return Err(note(&self.path, format!("{name} is no storage: left out")));
        }
        let is_loop = self
            .frames
            .iter()
            .any(|frame| frame.id == id && matches!(frame.scope, Scope::Whole { .. }));
        if is_loop {
            return Err(note(&self.path, "the same folder as one above it: entered only once"));
        }
        Ok(())
    }

    fn batch(&self, folder: Arc<dyn Folder>, entries: Vec<Found>, problems: Vec<Problem>) -> Batch {
        // Only valid names are ever pushed.
        let path = TreePath::parse(&self.path).unwrap_or_default();
        Batch { path, entries, folder, problems }
    }

    /// Opens the folder of `step` in the current folder.
    fn open(&mut self, step: &Step<'a>) -> io::Result<OwnedFd> {
        let name = CString::new(step.name.as_slice())?;
        match self.open_name(&name, step) {
            Err(error) if is_out_of_descriptors(&error) => {
                self.close_ancestors();
                self.open_name(&name, step)
            }
            outcome => outcome,
        }
    }

    fn open_name(&self, name: &CStr, step: &Step<'a>) -> io::Result<OwnedFd> {
        let current = self.frames.last().and_then(|frame| frame.folder.as_ref());
        let Some(current) = current else {
            return Err(io::Error::other("the folder above it was moved away during the walk"));
        };
        let is_above_roots = matches!(step.target, Target::Branch(Branch::Towards(_)));
        // Above a root, links are followed: the user named it so.
        let flags = if is_above_roots { OPEN_FOLDER - OFlags::NOFOLLOW } else { OPEN_FOLDER };
        self.source.shared.open(current.descriptor(), name, flags, step.owner)
    }

    /// Closes all folders but the current one.
    fn close_ancestors(&mut self) {
        let above = self.frames.len().saturating_sub(1);
        for frame in &mut self.frames[..above] {
            frame.folder = None;
        }
    }

    /// Leaves the current folder for the one above it, which is opened again if it was closed.
    fn leave(&mut self) {
        let Some(left) = self.frames.pop() else { return };
        let Some(current) = self.frames.last() else { return };
        self.path.truncate(current.path_bytes);
        if current.folder.is_some() {
            return;
        }
        let through_left = left.folder.as_ref().and_then(|below| {
            self.open_checked(below.descriptor(), c"..", OPEN_FOLDER, current.id).ok()
        });
        let reopened = through_left.or_else(|| self.open_from_top());
        let shared = &self.source.shared;
        if let Some(frame) = self.frames.last_mut() {
            frame.folder =
                reopened.map(|folder| Arc::new(FileFolder::new(folder, Arc::clone(shared))));
        }
    }

    /// Finds the current folder from the top, name by name; `None` if it is no longer there.
    fn open_from_top(&self) -> Option<OwnedFd> {
        let mut folder = self.source.shared.open(CWD, c"/", OPEN_FOLDER, 0).ok()?;
        let mut start = 0;
        for pair in self.frames.windows(2) {
            let (above, frame) = (&pair[0], &pair[1]);
            let name = &self.path[start..frame.path_bytes];
            let name = CString::new(name.strip_prefix(b"/").unwrap_or(name)).ok()?;
            let flags = match above.scope {
                Scope::Towards(_) if matches!(frame.scope, Scope::Towards(_)) => {
                    OPEN_FOLDER - OFlags::NOFOLLOW
                }
                _ => OPEN_FOLDER,
            };
            folder = self.open_checked(folder.as_fd(), &name, flags, frame.id).ok()?;
            start = frame.path_bytes;
        }
        Some(folder)
    }

    fn open_checked(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        flags: OFlags,
        id: FolderId,
    ) -> io::Result<OwnedFd> {
        let found = self.source.shared.open(folder, name, flags, 0)?;
        if FolderId::from(&stat_open(&found)?) == id {
            Ok(found)
        } else {
            Err(io::Error::other("another folder"))
        }
    }
}

impl Scan for Walk<'_> {
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        if let Some(descriptor) = self.start.take() {
            let target = Target::Branch(self.source.roots.top());
            return match self.enter_open(descriptor, target) {
                Ok(batch) => Ok(Some(batch)),
                Err(problem) => Err(io::Error::other(problem.to_string())),
            };
        }
        loop {
            let Some(current) = self.frames.last_mut() else { return Ok(None) };
            match current.pending.pop() {
                Some(step) => return Ok(Some(self.enter(step))),
                None => self.leave(),
            }
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

/// File systems that show the kernel's state: they hold no data, but files without end.
/// Numbers from `linux/magic.h`.
const VIRTUAL_FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0x6265_6570, "configfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6573_5543, "fusectl"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x6e73_6673, "nsfs"),
    (0xde5e_81e4, "efivarfs"),
];

fn virtual_file_system(folder: BorrowedFd<'_>) -> Option<&'static str> {
    // The width and sign of the field differ between machines; the numbers are of 32 bits.
    let magic = rustix::fs::fstatfs(folder).ok()?.f_type as u32;
    VIRTUAL_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}
