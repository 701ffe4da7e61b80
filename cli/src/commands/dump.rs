//! `dump`: a file, or a folder as an archive, as a stream.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use futures::TryStreamExt;
use strongroom_core::{
    entry::{Entry, EntryKind, TreePath},
    look,
    repository::{Repository, Snapshot},
};
use tempfile::NamedTempFile;

use super::{select, with_repository};
use crate::{
    access::Context,
    archive::{Archive, Begun, order::FoldersFirst, tar::TarArchive, zip::ZipArchive},
    args::{ArchiveFormat, DumpArgs, GlobalArgs},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{Console, entry::shown_path},
    password::Purpose,
};

const BUFFER_BYTES: usize = 256 << 10;

/// Writes the file or archive.
pub fn run(args: &DumpArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    with_repository(global, console, Purpose::Open, async |context| {
        context.interrupt.or(dump(args, context)).await
    })
}

async fn dump(args: &DumpArgs, context: &Context) -> Result<Exit> {
    let opened = context.open().await?;
    let listed = select::list(&opened.repository, &args.filter, context.console).await?;
    let snapshot = listed.choose(&args.place.snapshot)?;
    let path = join(&args.place.path, &args.path);
    let shown = shown_path(&path);
    let dump = Dump {
        repository: &opened.repository,
        snapshot,
        path,
        seen_from: args.place.path.clone(),
        console: context.console,
    };
    let entry = dump.entry().await.doing(|| format!("cannot dump {shown}"))?;
    let is_folder = entry.as_ref().is_none_or(|entry| entry.stat.kind == EntryKind::Dir);
    let format = args.archive.or(is_folder.then_some(ArchiveFormat::Tar));
    let mut output = Output::open(args.target.as_deref(), format.is_some())?;
    let left_out = match (format, &entry) {
        (Some(format), _) => dump.archive(format, &mut output).await,
        (None, Some(file)) => dump.file(file, &mut output).await.map(|()| 0),
        (None, None) => Ok(0),
    }
    .doing(|| format!("cannot dump {shown}"))?;
    output.finish()?;
    Ok(if left_out == 0 { Exit::Done } else { Exit::Incomplete })
}

/// A place in a snapshot that is to be written.
struct Dump<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    path: TreePath,
    /// Names in archives begin here.
    seen_from: TreePath,
    console: Console,
}

impl Dump<'_> {
    /// What is at the path; `None` for the root of the snapshot.
    async fn entry(&self) -> Result<Option<Entry>> {
        if self.path.is_root() {
            return Ok(None);
        }
        match look::entry_at(self.repository, self.snapshot, &self.path).await? {
            Some(entry) => Ok(Some(entry)),
            None => {
                Err(Failure::new(Exit::Failed, "there is nothing at that path in the snapshot")
                    .hint("`strongroom ls` lists what there is"))
            }
        }
    }

    async fn file(&self, entry: &Entry, output: &mut Output) -> Result<()> {
        if entry.stat.kind != EntryKind::File {
            return Err(Failure::new(Exit::Failed, "it is neither a file nor a folder")
                .hint("--archive tar writes anything"));
        }
        let mut content = look::read_file(self.repository, entry);
        while let Some(bytes) = content.try_next().await? {
            output.write_all(&bytes).map_err(|error| Failure::output(&error))?;
        }
        Ok(())
    }

    /// Writes all that is at the path; returns how many entries the format cannot hold.
    async fn archive(&self, format: ArchiveFormat, output: &mut Output) -> Result<u64> {
        let mut archive: Box<dyn Archive + '_> = match format {
            ArchiveFormat::Tar => Box::new(TarArchive::new(output)),
            ArchiveFormat::Zip => Box::new(ZipArchive::new(output)),
        };
        let mut left_out = 0;
        let mut order = FoldersFirst::default();
        let mut entries = look::list(self.repository, self.snapshot, &self.path, true);
        while let Some((path, entry)) = entries.try_next().await? {
            for (path, entry) in order.push(path, entry) {
                left_out += self.add(&mut *archive, &path, &entry).await?;
            }
        }
        for (path, entry) in order.finish() {
            left_out += self.add(&mut *archive, &path, &entry).await?;
        }
        archive.finish().map_err(|error| Failure::output(&error))?;
        Ok(left_out)
    }

    /// Adds one entry with its content; 1 if the format cannot hold it.
    async fn add(&self, archive: &mut dyn Archive, path: &TreePath, entry: &Entry) -> Result<u64> {
        let failed = |error: io::Error| Failure::output(&error);
        let Some(name) = self.name_in_archive(path) else { return Ok(0) };
        match archive.begin(name, entry).map_err(failed)? {
            Begun::Complete => return Ok(0),
            Begun::Unsupported => {
                let why = "this kind of archive cannot hold it";
                self.console.item_error("dump", &shown_path(path), why);
                return Ok(1);
            }
            Begun::WantsContent => {}
        }
        let mut content = look::read_file(self.repository, entry);
        while let Some(bytes) = content.try_next().await? {
            archive.content(&bytes).map_err(failed)?;
        }
        archive.end().map_err(failed)?;
        Ok(0)
    }

    /// The path in the archive; `None` for the folder that names begin in.
    fn name_in_archive<'p>(&self, path: &'p TreePath) -> Option<&'p [u8]> {
        let below = path.as_bytes().strip_prefix(self.seen_from.as_bytes())?;
        let name = below.strip_prefix(b"/").unwrap_or(below);
        (!name.is_empty()).then_some(name)
    }
}

fn join(folder: &TreePath, below: &TreePath) -> TreePath {
    below.names().fold(folder.clone(), |path, name| path.join(name))
}

/// Standard output, or a file that appears under its name when it is complete.
enum Output {
    Stdout(BufWriter<File>),
    File { file: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Output {
    fn open(target: Option<&Path>, is_archive: bool) -> Result<Self> {
        let Some(path) = target else { return Self::stdout(is_archive) };
        let failed = |error: io::Error| {
            Failure::new(Exit::Failed, error.to_string())
                .doing(format!("cannot write {}", path.display()))
        };
        if path.is_dir() {
            return Err(Failure::usage(format!("--target {}: it is a folder", path.display())));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = NamedTempFile::with_prefix_in(".strongroom-", folder).map_err(failed)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self::File { file, path: path.to_owned() })
    }

    /// Past the line buffer of the standard library, which is no use here.
    fn stdout(is_archive: bool) -> Result<Self> {
        let stdout = io::stdout();
        if is_archive && stdout.is_terminal() {
            return Err(Failure::usage("an archive is not for a terminal")
                .hint("use --target FILE, or send standard output to a file or a command"));
        }
        let fd = stdout.as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
        Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_BYTES, File::from(fd))))
    }

    fn finish(self) -> Result<()> {
        let (file, path) = match self {
            Self::Stdout(mut out) => return out.flush().map_err(|error| Failure::output(&error)),
            Self::File { file, path } => (file, path),
        };
        let finish = || -> io::Result<()> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        finish().map_err(|error| {
            Failure::new(Exit::Failed, error.to_string())
                .doing(format!("cannot write {}", path.display()))
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("out");
        std::fs::write(&path, "before").unwrap();
        let mut output = Output::open(Some(&path), true).unwrap();
        output.write_all(b"after").unwrap();
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        let mut output = Output::open(Some(&path), true).unwrap();
        output.write_all(b"after").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        assert!(Output::open(Some(temp.path()), false).is_err());
        assert!(Output::open(Some(&temp.path().join("no/such")), false).is_err());
    }

    #[test]
    fn paths_join() {
        let path = |bytes: &[u8]| TreePath::parse(bytes).unwrap();
        assert_eq!(join(&path(b"a/b"), &path(b"c/d")), path(b"a/b/c/d"));
        assert_eq!(join(&path(b""), &path(b"c")), path(b"c"));
        assert_eq!(join(&path(b"a"), &path(b"")), path(b"a"));
    }
}
