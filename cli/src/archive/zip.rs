//! Zip: files, folders and symbolic links with modes and times.
//!
//! The list of names is kept in memory until the end, as the format wants it there. Hard links
//! become files of their own; pipes, sockets and devices are left out.

use std::io::{self, Write};

use strongroom_core::entry::{Entry, EntryKind, FileTime};
use zip::{
    CompressionMethod, DateTime, ZipWriter,
    write::{FullFileOptions, StreamWriter},
};

use super::{Archive, Begun};
use crate::time;

/// From here on a file is declared to be larger than old readers can handle; compression may
/// make content a little longer than it was.
const LARGE_BYTES_MIN: u64 = 0xf000_0000;
/// Extra field with the time of change in UTC.
const EXTENDED_TIMESTAMP: u16 = 0x5455;

/// A zip archive on its way to `out`.
pub struct ZipArchive<W: Write>(ZipWriter<StreamWriter<W>>);

impl<W: Write> ZipArchive<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self(ZipWriter::new_stream(out))
    }
}

impl<W: Write> Archive for ZipArchive<W> {
    fn begin(&mut self, path: &[u8], entry: &Entry) -> io::Result<Begun> {
        let stat = &entry.stat;
        let options = options(entry)?;
        match stat.kind {
            EntryKind::File => {
                self.0.start_file_with_options(options.name(path))?;
                return Ok(Begun::WantsContent);
            }
            EntryKind::Dir => {
                let options = options.compression_method(CompressionMethod::Stored);
                self.0.add_directory(String::from_utf8_lossy(path), options)?;
            }
            EntryKind::Symlink => {
                let target = entry.details.link_target.as_deref().unwrap_or_default();
                let target = String::from_utf8_lossy(target);
                self.0.add_symlink(String::from_utf8_lossy(path), target, options)?;
            }
            _ => return Ok(Begun::Unsupported),
        }
        Ok(Begun::Complete)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish()?.into_inner().flush()
    }
}

fn options(entry: &Entry) -> io::Result<FullFileOptions<'static, 'static>> {
    let stat = &entry.stat;
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(stat.mode)
        .large_file(stat.size >= LARGE_BYTES_MIN);
    if let Some(local) = dos_time(stat.mtime) {
        options = options.last_modified_time(local);
    }
    if let Ok(seconds) = i32::try_from(stat.mtime.seconds) {
        let mut field = vec![1];
        field.extend_from_slice(&seconds.to_le_bytes());
        options.add_extra_field(EXTENDED_TIMESTAMP, field, false)?;
    }
    Ok(options)
}

/// Local time in steps of two seconds, from 1980 to 2107.
fn dos_time(mtime: FileTime) -> Option<DateTime> {
    let local = time::local_fields(mtime.seconds);
    let field = |value: i8| u8::try_from(value).ok();
    DateTime::from_date_and_time(
        u16::try_from(local.year()).ok()?,
        field(local.month())?,
        field(local.day())?,
        field(local.hour())?,
        field(local.minute())?,
        field(local.second())?,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::entry::tests::entry;
    use std::io::{Cursor, Read};

    #[test]
    fn files_folders_and_links_come_back() {
        let mut bytes = Vec::new();
        let mut archive = Box::new(ZipArchive::new(&mut bytes));
        let mut link = entry(b"l", EntryKind::Symlink);
        link.details.link_target = Some(b"f".to_vec());
        assert_eq!(archive.begin(b"d", &entry(b"d", EntryKind::Dir)).unwrap(), Begun::Complete);
        let file = entry(b"f", EntryKind::File);
        assert_eq!(archive.begin(b"d/f", &file).unwrap(), Begun::WantsContent);
        archive.content(b"hel").unwrap();
        archive.content(b"lo").unwrap();
        archive.end().unwrap();
        assert_eq!(archive.begin(b"d/l", &link).unwrap(), Begun::Complete);
        let fifo = entry(b"p", EntryKind::Fifo);
        assert_eq!(archive.begin(b"d/p", &fifo).unwrap(), Begun::Unsupported);
        archive.finish().unwrap();

        let mut reader = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<_> = reader.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["d/", "d/f", "d/l"]);
        let mut file = reader.by_name("d/f").unwrap();
        assert_eq!(file.unix_mode().unwrap() & 0o7777, 0o640);
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");
        drop(file);
        assert!(reader.by_name("d/l").unwrap().is_symlink());
    }

    #[test]
    fn times_that_zip_cannot_hold_are_left_out() {
        for seconds in [i64::MIN, -1, i64::MAX] {
            assert!(dos_time(FileTime { seconds, nanoseconds: 0 }).is_none());
        }
    }
}
