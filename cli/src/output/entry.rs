//! Entries of snapshots for programs (JSON) and for people (lines).

use serde::Serialize;
use strongroom_core::entry::{Entry, EntryKind, FileTime, TreePath};

use super::human;
use crate::time;

/// An entry in the keys that scripts for restic know.
#[derive(Debug, Serialize)]
pub struct EntryJson {
    name: String,
    /// Hex of a name that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    /// Hex of a path that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mode: u32,
    permissions: String,
    mtime: String,
    ctime: String,
    inode: u64,
    device_id: u64,
    links: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<String>,
    /// Hex of a link target that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget_bytes: Option<String>,
}

impl EntryJson {
    /// The entry at `path`.
    pub fn new(path: &TreePath, entry: &Entry) -> Self {
        let stat = &entry.stat;
        let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let link = entry.details.link_target.as_ref();
        Self {
            name: lossy(&entry.name),
            name_bytes: hex_unless_utf8(&entry.name),
            kind: kind(stat.kind),
            path: format!("/{}", String::from_utf8_lossy(path.as_bytes())),
            path_bytes: hex_unless_utf8(&[b"/", path.as_bytes()].concat()),
            uid: stat.uid,
            gid: stat.gid,
            user: entry.details.user.as_ref().map(lossy),
            group: entry.details.group.as_ref().map(lossy),
            size: (stat.kind == EntryKind::File).then_some(stat.size),
            mode: stat.mode,
            permissions: human::mode(stat),
            mtime: rfc3339(stat.mtime),
            ctime: rfc3339(stat.ctime),
            inode: stat.inode,
            device_id: stat.device,
            links: stat.links,
            linktarget: link.map(lossy),
            linktarget_bytes: link.and_then(|target| hex_unless_utf8(target)),
        }
    }
}

/// `/path` with everything escaped that does not belong on a terminal.
pub fn shown_path(path: &TreePath) -> String {
    format!("/{}", path.display())
}

/// A line like that of `ls -l`.
pub fn long_line(path: &TreePath, entry: &Entry) -> String {
    let stat = &entry.stat;
    let owner = name_or_number(entry.details.user.as_deref(), stat.uid);
    let group = name_or_number(entry.details.group.as_deref(), stat.gid);
    let mtime = time::local_parts(stat.mtime.seconds, stat.mtime.nanoseconds);
    let mode = human::mode(stat);
    let path = shown_path(path);
    let mut line = format!("{mode} {owner:<8} {group:<8} {:>12} {mtime} {path}", stat.size);
    if let Some(target) = &entry.details.link_target {
        line.push_str(" -> ");
        line.push_str(&strongroom_core::entry::display_name(target));
    }
    line
}

fn name_or_number(name: Option<&[u8]>, number: u32) -> String {
    name.map_or_else(|| number.to_string(), strongroom_core::entry::display_name)
}

fn rfc3339(file_time: FileTime) -> String {
    time::rfc3339_parts(file_time.seconds, file_time.nanoseconds)
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::BlockDevice => "dev",
        EntryKind::CharDevice => "chardev",
    }
}

/// `None` for UTF-8, which JSON can say as it is.
pub fn hex_unless_utf8(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| hex::encode(bytes))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use strongroom_core::entry::{Content, Details, Stat};

    pub fn stat(kind: EntryKind) -> Stat {
        let time = FileTime { seconds: 1_768_487_400, nanoseconds: 500_000_000 };
        Stat {
            kind,
            mode: 0o640,
            uid: 1000,
            gid: 100,
            size: if kind == EntryKind::File { 5 } else { 0 },
            allocated_bytes: 4096,
            mtime: time,
            ctime: time,
            inode: 7,
            device: 8 << 32,
            links: 1,
            device_number: 0,
        }
    }

    pub fn entry(name: &[u8], kind: EntryKind) -> Entry {
        Entry {
            name: name.to_vec(),
            stat: stat(kind),
            details: Details::default(),
            content: Content::default(),
            is_torn: false,
        }
    }

    #[test]
    fn json_has_the_known_keys() {
        let path = TreePath::parse(b"etc/motd").unwrap();
        let json =
            serde_json::to_value(EntryJson::new(&path, &entry(b"motd", EntryKind::File))).unwrap();
        let expected = serde_json::json!({
            "name": "motd", "type": "file", "path": "/etc/motd", "uid": 1000, "gid": 100, "size": 5,
            "mode": 0o640, "permissions": "-rw-r-----", "mtime": "2026-01-15T14:30:00.5Z",
            "ctime": "2026-01-15T14:30:00.5Z", "inode": 7, "device_id": 8u64 << 32, "links": 1,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn byte_names_are_lossy_and_exact() {
        let path = TreePath::parse(b"a/\xff").unwrap();
        let json =
            serde_json::to_value(EntryJson::new(&path, &entry(b"\xff", EntryKind::Dir))).unwrap();
        assert_eq!(json["name"], "\u{fffd}");
        assert_eq!(json["name_bytes"], "ff");
        assert_eq!(json["path_bytes"], "2f612fff");
        assert!(json.get("size").is_none());
    }

    #[test]
    fn lines_escape_control_characters() {
        let path = TreePath::parse(b"a\n\x1b[2J").unwrap();
        let mut link = entry(b"a\n\x1b[2J", EntryKind::Symlink);
        link.details.link_target = Some(b"b\rc".to_vec());
        link.details.user = Some(b"ann".to_vec());
        let line = long_line(&path, &link);
        assert!(!line.contains(char::is_control), "{line}");
        assert!(line.starts_with("lrw-r----- ann      100 "), "{line}");
        assert!(line.ends_with(r"/a\n\u{1b}[2J -> b\rc"), "{line}");
    }
}
