//! Tar in the POSIX interchange format ("pax"): a plain `ustar` header for old readers, and an
//! extended header before it for what does not fit: long or non-ASCII names, exact times, large
//! numbers, extended attributes.
//!
//! Hard links are kept. Sparse files are written in full.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use strongroom_core::entry::{Entry, EntryKind, FileTime, Stat};
use tar::{EntryType, Header};

use super::{Archive, Begun};

const BLOCK_BYTES: u64 = 512;
const NAME_BYTES_MAX: usize = 100;
/// Readers expect whole records of 20 blocks at the end.
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES;
const SIZE_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u32 = 0o7_777_777;

/// A tar archive on its way to `out`.
pub struct TarArchive<W> {
    out: W,
    written_bytes: u64,
    /// Content still to come for the entry that was begun.
    pending_bytes: u64,
    /// First path of every inode that has more than one.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> TarArchive<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, written_bytes: 0, pending_bytes: 0, linked: HashMap::new() }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, multiple: u64) -> io::Result<()> {
        const ZEROS: [u8; RECORD_BYTES as usize] = [0; RECORD_BYTES as usize];
        let missing = self.written_bytes.next_multiple_of(multiple) - self.written_bytes;
        self.write(&ZEROS[..missing as usize])
    }

    fn write_extended(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, b"PaxHeaders/entry");
        header.set_entry_type(EntryType::XHeader);
        header.set_size(records.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(BLOCK_BYTES)
    }

    /// The path of this inode that is in the archive already; remembers `path` if there is none.
    fn earlier_link(&mut self, path: &[u8], entry: &Entry) -> Option<Vec<u8>> {
        if !entry.is_hard_linked() {
            return None;
        }
        let inode = (entry.stat.device, entry.stat.inode);
        let earlier = self.linked.get(&inode).cloned();
        if earlier.is_none() {
            self.linked.insert(inode, path.to_vec());
        }
        earlier
    }
}

impl<W: Write> Archive for TarArchive<W> {
    fn begin(&mut self, path: &[u8], entry: &Entry) -> io::Result<Begun> {
        if entry.stat.kind == EntryKind::Socket {
            return Ok(Begun::Unsupported);
        }
        let earlier = self.earlier_link(path, entry);
        let (header, records) = headers(path, entry, earlier.as_deref());
        self.write_extended(&records)?;
        self.write(header.as_bytes())?;
        if entry.stat.kind != EntryKind::File || earlier.is_some() {
            return Ok(Begun::Complete);
        }
        self.pending_bytes = entry.stat.size;
        Ok(Begun::WantsContent)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending_bytes = self
            .pending_bytes
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("a file with more content than its size says"))?;
        self.write(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.pending_bytes > 0 {
            return Err(io::Error::other("a file with less content than its size says"));
        }
        self.pad(BLOCK_BYTES)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write(&[0; 2 * BLOCK_BYTES as usize])?;
        self.pad(RECORD_BYTES)?;
        self.out.flush()
    }
}

/// The header of an entry, and the records of its extended header (none if all fits).
fn headers(path: &[u8], entry: &Entry, earlier: Option<&[u8]>) -> (Header, Vec<u8>) {
    let stat = &entry.stat;
    let mut header = Header::new_ustar();
    let mut records = Records::default();
    let mut name = path.to_vec();
    if stat.kind == EntryKind::Dir {
        name.push(b'/');
    }
    records.name("path", &name, &mut header.as_old_mut().name);
    if let Some(target) = earlier.or(entry.details.link_target.as_deref()) {
        records.name("linkpath", target, &mut header.as_old_mut().linkname);
    }
    header.set_entry_type(entry_type(stat.kind, earlier.is_some()));
    header.set_mode(stat.mode);
    let has_content = stat.kind == EntryKind::File && earlier.is_none();
    records.size(if has_content { stat.size } else { 0 }, &mut header);
    records.owner(stat, &mut header);
    records.time(stat.mtime, &mut header);
    if let Some(ustar) = header.as_ustar_mut() {
        records.owner_name("uname", entry.details.user.as_deref(), &mut ustar.uname);
        records.owner_name("gname", entry.details.group.as_deref(), &mut ustar.gname);
        if matches!(stat.kind, EntryKind::BlockDevice | EntryKind::CharDevice) {
            ustar.set_device_major((stat.device_number >> 32) as u32);
            ustar.set_device_minor(stat.device_number as u32);
        }
    }
    if earlier.is_none() {
        for (key, value) in &entry.details.xattrs {
            records.xattr(key, value);
        }
    }
    header.set_cksum();
    (header, records.finish())
}

fn entry_type(kind: EntryKind, is_link: bool) -> EntryType {
    match kind {
        _ if is_link => EntryType::Link,
        EntryKind::File | EntryKind::Socket => EntryType::Regular,
        EntryKind::Dir => EntryType::Directory,
        EntryKind::Symlink => EntryType::Symlink,
        EntryKind::Fifo => EntryType::Fifo,
        EntryKind::BlockDevice => EntryType::Block,
        EntryKind::CharDevice => EntryType::Char,
    }
}

/// Records of an extended header: `length key=value\n`.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    is_binary: bool,
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.bytes.extend_from_slice(format!("{length} ").as_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    /// A path: into the header's field as far as it fits, and into a record if it is cut there
    /// or is text beyond ASCII. Short names that are no text at all are best read from the field.
    fn name(&mut self, key: &str, name: &[u8], field: &mut [u8; NAME_BYTES_MAX]) {
        put(field, name);
        let is_text = std::str::from_utf8(name).is_ok();
        if name.len() > NAME_BYTES_MAX || (is_text && !name.is_ascii()) {
            self.is_binary |= !is_text;
            self.add(key.as_bytes(), name);
        }
    }

    fn owner_name(&mut self, key: &str, name: Option<&[u8]>, field: &mut [u8; 32]) {
        let Some(name) = name else { return };
        if name.len() < field.len() {
            put(field, name);
        } else if std::str::from_utf8(name).is_ok() {
            self.add(key.as_bytes(), name);
        }
    }

    fn size(&mut self, size: u64, header: &mut Header) {
        header.set_size(size);
        if size > SIZE_MAX {
            self.add(b"size", size.to_string().as_bytes());
        }
    }

    fn owner(&mut self, stat: &Stat, header: &mut Header) {
        header.set_uid(u64::from(stat.uid));
        header.set_gid(u64::from(stat.gid));
        if stat.uid > ID_MAX {
            self.add(b"uid", stat.uid.to_string().as_bytes());
        }
        if stat.gid > ID_MAX {
            self.add(b"gid", stat.gid.to_string().as_bytes());
        }
    }

    fn time(&mut self, mtime: FileTime, header: &mut Header) {
        let plain = u64::try_from(mtime.seconds).ok().filter(|seconds| *seconds <= SIZE_MAX);
        header.set_mtime(plain.unwrap_or(0));
        if plain.is_none() || mtime.nanoseconds > 0 {
            self.add(b"mtime", decimal(mtime).as_bytes());
        }
    }

    /// As star, GNU tar and libarchive write them.
    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                other => key.push(*other),
            }
        }
        self.add(&key, value);
    }

    fn finish(self) -> Vec<u8> {
        if !self.is_binary {
            return self.bytes;
        }
        let mut marked = Self::default();
        marked.add(b"hdrcharset", b"BINARY");
        marked.bytes.extend_from_slice(&self.bytes);
        marked.bytes
    }
}

/// Seconds with a fraction; the fraction of a time before 1970 counts backwards.
fn decimal(time: FileTime) -> String {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (seconds, fraction) =
        (nanoseconds.unsigned_abs() / 1_000_000_000, nanoseconds.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        format!("{sign}{seconds}")
    } else {
        format!("{sign}{seconds}.{fraction:09}")
    }
}

/// The beginning of `bytes`, as much as fits.
fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::entry::tests::{entry, stat};
    use std::io::Read;

    fn file(name: &[u8], content: &[u8]) -> Entry {
        let mut file = entry(name, EntryKind::File);
        file.stat.size = content.len() as u64;
        file
    }

    fn archive(items: &[(&[u8], Entry, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = Box::new(TarArchive::new(&mut bytes));
        for (path, entry, content) in items {
            if archive.begin(path, entry).unwrap() == Begun::WantsContent {
                archive.content(content).unwrap();
                archive.end().unwrap();
            }
        }
        archive.finish().unwrap();
        bytes
    }

    #[test]
    fn an_independent_reader_gets_everything_back() {
        let long = [b"d/".as_slice(), &[b'n'; 255]].concat();
        let mut link = entry(b"l", EntryKind::Symlink);
        link.details.link_target = Some(vec![b't'; 300]);
        let mut owned = file(b"o", b"12345");
        owned.details.user = Some("jörg".into());
        owned.details.xattrs = vec![(b"user.a=b".to_vec(), b"v\0".to_vec())];
        owned.stat.uid = 3_000_000;
        let items: Vec<(&[u8], Entry, &[u8])> = vec![
            (b"d", entry(b"d", EntryKind::Dir), b""),
            (&long, file(&[b'n'; 255], b"hello"), b"hello"),
            ("d/grün".as_bytes(), file("grün".as_bytes(), b""), b""),
            (b"d/l", link, b""),
            (b"d/o", owned, b"12345"),
        ];
        let bytes = archive(&items);
        assert_eq!(bytes.len() as u64 % RECORD_BYTES, 0);
        let mut reader = tar::Archive::new(&bytes[..]);
        for (found, (path, entry, content)) in reader.entries().unwrap().zip(&items) {
            let mut found = found.unwrap();
            let read_path = found.path_bytes().into_owned();
            assert_eq!(read_path.strip_suffix(b"/").unwrap_or(&read_path), *path);
            assert_eq!(found.link_name_bytes().as_deref(), entry.details.link_target.as_deref());
            assert_eq!(found.header().mode().unwrap(), 0o640);
            assert_eq!(found.header().uid().unwrap(), u64::from(entry.stat.uid));
            let mut read = Vec::new();
            found.read_to_end(&mut read).unwrap();
            assert_eq!(read, *content);
            let extensions = found.pax_extensions().unwrap().unwrap();
            let pairs: Vec<_> = extensions
                .map(|pair| pair.unwrap())
                .map(|pair| (pair.key_bytes().to_vec(), pair.value_bytes().to_vec()))
                .collect();
            let mtime = (b"mtime".to_vec(), b"1768487400.500000000".to_vec());
            assert!(pairs.contains(&mtime), "{pairs:?}");
        }
    }

    #[test]
    fn later_names_of_an_inode_are_links() {
        let mut linked = file(b"a", b"12345");
        linked.stat.links = 2;
        let bytes = archive(&[(b"a", linked.clone(), b"12345"), (b"b", linked, b"")]);
        let mut reader = tar::Archive::new(&bytes[..]);
        let last = reader.entries().unwrap().nth(1).unwrap().unwrap();
        assert_eq!(last.header().entry_type(), EntryType::Link);
        assert_eq!(last.link_name_bytes().unwrap().as_ref(), b"a");
        assert_eq!(last.size(), 0);
    }

    #[test]
    fn short_byte_names_stand_in_the_header_long_ones_are_marked() {
        let (header, records) = headers(b"\xff", &file(b"\xff", b""), None);
        assert!(header.as_old().name.starts_with(b"\xff\0"));
        assert!(!records.windows(4).any(|window| window == b"path"));
        let (_, records) = headers(&[0xff; 150], &file(b"\xff", b""), None);
        assert!(records.starts_with(b"21 hdrcharset=BINARY\n"));
    }

    #[test]
    fn records_count_their_own_length() {
        for length in 0..1200 {
            let mut records = Records::default();
            records.add(b"k", &vec![b'v'; length]);
            let text = String::from_utf8(records.bytes).unwrap();
            let (said, _) = text.split_once(' ').unwrap();
            assert_eq!(said.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn times_before_1970_count_backwards() {
        let at = |seconds, nanoseconds| decimal(FileTime { seconds, nanoseconds });
        assert_eq!(at(-1, 500_000_000), "-0.500000000");
        assert_eq!(at(-2, 0), "-2");
        assert_eq!(at(3, 1), "3.000000001");
        assert!(at(i64::MIN, 0).starts_with("-9223372036854775808"));
    }

    #[test]
    fn content_of_another_length_is_an_error_and_sockets_are_left_out() {
        let mut bytes = Vec::new();
        let mut archive = TarArchive::new(&mut bytes);
        archive.begin(b"a", &file(b"a", b"12345")).unwrap();
        assert!(archive.end().is_err());
        assert!(archive.content(b"123456").is_err());
        let socket = Entry { stat: stat(EntryKind::Socket), ..entry(b"s", EntryKind::Socket) };
        assert_eq!(archive.begin(b"s", &socket).unwrap(), Begun::Unsupported);
    }
}
