//! One entry as a map with field numbers; fields that hold their default are left out.

use minicbor::Decoder;

use super::{
    super::cbor::{self, Decoded, Encoded, Out},
    codec::{self, PackTable, PackTableReader},
};
use crate::{
    entry::{Content, Details, Entry, EntryKind, FileTime, Stat, is_valid_name},
    packset::PackSet,
};

const NAME: u32 = 0;
const KIND: u32 = 1;
const MODE: u32 = 2;
const UID: u32 = 3;
const GID: u32 = 4;
const SIZE: u32 = 5;
const MTIME: u32 = 6;
const CTIME: u32 = 7;
const INODE: u32 = 8;
const DEVICE: u32 = 9;
const LINKS: u32 = 10;
const DEVICE_NUMBER: u32 = 11;
const USER: u32 = 12;
const GROUP: u32 = 13;
const XATTRS: u32 = 14;
const LINK_TARGET: u32 = 15;
const PIECES: u32 = 16;
const LISTED: u32 = 17;
const IS_TORN: u32 = 18;
const ALLOCATED: u32 = 19;

const KINDS: [EntryKind; 7] = [
    EntryKind::File,
    EntryKind::Dir,
    EntryKind::Symlink,
    EntryKind::Fifo,
    EntryKind::Socket,
    EntryKind::BlockDevice,
    EntryKind::CharDevice,
];

fn kind_number(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => 0,
        EntryKind::Dir => 1,
        EntryKind::Symlink => 2,
        EntryKind::Fifo => 3,
        EntryKind::Socket => 4,
        EntryKind::BlockDevice => 5,
        EntryKind::CharDevice => 6,
    }
}

/// Which optional fields an entry has, in field order.
struct Present {
    numbers: [(u32, u64); 8],
    content: Option<u32>,
}

impl Present {
    fn of(entry: &Entry) -> Self {
        let stat = &entry.stat;
        let numbers = [
            (MODE, u64::from(stat.mode)),
            (UID, u64::from(stat.uid)),
            (GID, u64::from(stat.gid)),
            (SIZE, stat.size),
            (INODE, stat.inode),
            (DEVICE, stat.device),
            (LINKS, stat.links),
            (DEVICE_NUMBER, stat.device_number),
        ];
        let content = match &entry.content {
            Content::Inline(pieces) => (!pieces.is_empty()).then_some(PIECES),
            Content::Listed { .. } => Some(LISTED),
        };
        Self { numbers, content }
    }

    fn count(&self, entry: &Entry) -> u64 {
        let details = &entry.details;
        let optional = [
            details.user.is_some(),
            details.group.is_some(),
            !details.xattrs.is_empty(),
            details.link_target.is_some(),
            self.content.is_some(),
            entry.is_torn,
            entry.stat.allocated_bytes != 0,
        ];
        let numbers = self.numbers.iter().filter(|(_, value)| *value != 0).count();
        // name, kind and the two times are always there
        4 + numbers as u64 + optional.iter().filter(|present| **present).count() as u64
    }
}

pub(super) fn encode(entry: &Entry, out: &mut Out<'_>, table: &mut PackTable) -> Encoded {
    let present = Present::of(entry);
    let (before_times, after_times) = present.numbers.split_at(4);
    out.map(present.count(entry))?;
    out.u32(NAME)?.bytes(&entry.name)?;
    out.u32(KIND)?.u8(kind_number(entry.stat.kind))?;
    encode_numbers(before_times, out)?;
    encode_time(MTIME, entry.stat.mtime, out)?;
    encode_time(CTIME, entry.stat.ctime, out)?;
    encode_numbers(after_times, out)?;
    encode_details(&entry.details, out)?;
    match &entry.content {
        Content::Inline(pieces) if pieces.is_empty() => {}
        Content::Inline(pieces) => {
            out.u32(PIECES)?;
            codec::encode_pieces(pieces, out, table)?;
        }
        Content::Listed { lists, packs } => {
            out.u32(LISTED)?.array(2)?.array(lists.len() as u64)?;
            for list in lists {
                codec::encode_chunk(list, out, table)?;
            }
            packs.encode(out)?;
        }
    }
    if entry.is_torn {
        out.u32(IS_TORN)?.bool(true)?;
    }
    encode_numbers(&[(ALLOCATED, entry.stat.allocated_bytes)], out)
}

fn encode_numbers(fields: &[(u32, u64)], out: &mut Out<'_>) -> Encoded {
    for (number, value) in fields.iter().filter(|(_, value)| *value != 0) {
        out.u32(*number)?.u64(*value)?;
    }
    Ok(())
}

fn encode_time(number: u32, time: FileTime, out: &mut Out<'_>) -> Encoded {
    out.u32(number)?.array(2)?.i64(time.seconds)?.u32(time.nanoseconds)?;
    Ok(())
}

fn encode_details(details: &Details, out: &mut Out<'_>) -> Encoded {
    for (number, text) in [(USER, &details.user), (GROUP, &details.group)] {
        if let Some(text) = text {
            out.u32(number)?.bytes(text)?;
        }
    }
    if !details.xattrs.is_empty() {
        out.u32(XATTRS)?.array(details.xattrs.len() as u64 * 2)?;
        for (name, value) in &details.xattrs {
            out.bytes(name)?.bytes(value)?;
        }
    }
    if let Some(target) = &details.link_target {
        out.u32(LINK_TARGET)?.bytes(target)?;
    }
    Ok(())
}

/// An entry before its fields are read.
fn blank() -> Entry {
    let stat = Stat {
        kind: EntryKind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        allocated_bytes: 0,
        mtime: FileTime::default(),
        ctime: FileTime::default(),
        inode: 0,
        device: 0,
        links: 0,
        device_number: 0,
    };
    Entry {
        name: Vec::new(),
        stat,
        details: Details::default(),
        content: Content::default(),
        is_torn: false,
    }
}

pub(super) fn decode(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<Entry> {
    let mut entry = blank();
    cbor::each_field(input, |number, input| decode_field(number, input, &mut entry, table))?;
    if !is_valid_name(&entry.name) {
        return Err(cbor::wrong("not a name"));
    }
    Ok(entry)
}

fn decode_field(
    number: u32,
    input: &mut Decoder<'_>,
    entry: &mut Entry,
    table: &PackTableReader,
) -> Decoded<bool> {
    let (stat, details) = (&mut entry.stat, &mut entry.details);
    match number {
        NAME => entry.name = input.bytes()?.to_vec(),
        KIND => {
            let kind = KINDS.get(usize::from(input.u8()?));
            stat.kind = *kind.ok_or_else(|| cbor::wrong("unknown kind of entry"))?;
        }
        MODE => stat.mode = input.u32()? & 0o7777,
        UID => stat.uid = input.u32()?,
        GID => stat.gid = input.u32()?,
        SIZE => stat.size = input.u64()?,
        MTIME => stat.mtime = decode_time(input)?,
        CTIME => stat.ctime = decode_time(input)?,
        INODE => stat.inode = input.u64()?,
        DEVICE => stat.device = input.u64()?,
        LINKS => stat.links = input.u64()?,
        DEVICE_NUMBER => stat.device_number = input.u64()?,
        USER => details.user = Some(input.bytes()?.to_vec()),
        GROUP => details.group = Some(input.bytes()?.to_vec()),
        XATTRS => details.xattrs = decode_xattrs(input)?,
        LINK_TARGET => details.link_target = Some(input.bytes()?.to_vec()),
        PIECES => entry.content = Content::Inline(codec::decode_pieces(input, table)?),
        LISTED => entry.content = decode_listed(input, table)?,
        IS_TORN => entry.is_torn = input.bool()?,
        ALLOCATED => stat.allocated_bytes = input.u64()?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn decode_time(input: &mut Decoder<'_>) -> Decoded<FileTime> {
    cbor::array_of(input, 2)?;
    let time = FileTime { seconds: input.i64()?, nanoseconds: input.u32()? };
    if time.nanoseconds > 999_999_999 {
        return Err(cbor::wrong("nanoseconds beyond a second"));
    }
    Ok(time)
}

fn decode_xattrs(input: &mut Decoder<'_>) -> Decoded<Vec<(Vec<u8>, Vec<u8>)>> {
    let count = cbor::array_len(input)?;
    if count % 2 != 0 {
        return Err(cbor::wrong("attribute without a value"));
    }
    (0..count / 2).map(|_| Ok((input.bytes()?.to_vec(), input.bytes()?.to_vec()))).collect()
}

fn decode_listed(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<Content> {
    cbor::array_of(input, 2)?;
    let count = cbor::array_len(input)?;
    let lists =
        (0..count).map(|_| codec::decode_chunk(input, table)).collect::<Decoded<Vec<_>>>()?;
    Ok(Content::Listed { lists, packs: PackSet::decode(input)? })
}
