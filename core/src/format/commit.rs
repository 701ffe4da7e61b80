//! A commit: the one object that makes a snapshot exist, or ends a session without one: a session
//! that was given up, or one of maintenance.
//!
//! Object `meta/snapshots/<session>`: the record (type commit), the sealed reference list (type
//! reference list, under the index key), and the length of the latter as LE32. The reference
//! list is bound to the record by its BLAKE3. Knows nothing of where it is stored.

use minicbor::Decoder;

use super::{
    cbor::{self, Decoded, Encoded, Out},
    forwarding::Forwarding,
    page::{Counts, LEVELS_MAX, TableRoot},
};
use crate::{
    entry::{ChunkRef, PackRef},
    error::Result,
    id::{ChunkId, ClientId, PackId, RepositoryId, SessionId},
    runtime::Timestamp,
};

/// BLAKE3 of an object as stored.
pub type ObjectHash = [u8; 32];

/// An object that the session wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenObject {
    /// Its number in the session.
    pub counter: u32,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// BLAKE3 of its bytes.
    pub hash: ObjectHash,
}

/// The snapshot that a copy was made from: the first one, however often it was copied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Original {
    /// The repository that it was made in.
    pub repository: RepositoryId,
    /// Its id there.
    pub snapshot: SessionId,
}

/// What a commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// The session that it ends; also the snapshot's id.
    pub session: SessionId,
    /// Who wrote it.
    pub client: ClientId,
    /// Per-client sequence number, from 1.
    pub sequence: u64,
    /// Hashes of the commits that no other commit had seen when this one was made.
    pub heads: Vec<ObjectHash>,
    /// The snapshot's table; `None` if the session was given up, or was one of maintenance.
    pub root: Option<TableRoot>,
    /// Index segments of the session.
    pub indexes: Vec<WrittenObject>,
    /// Packs of the session.
    pub packs: Vec<WrittenObject>,
    /// BLAKE3 of the sealed reference list.
    pub references: ObjectHash,
    /// The collector generation that the session saw.
    pub generation: u64,
    /// The time that the snapshot stands for.
    pub time: Timestamp,
    /// When the session began to read the source.
    pub started: Timestamp,
    /// When the commit was made.
    pub committed: Timestamp,
    /// Host name.
    pub host: String,
    /// User name.
    pub user: String,
    /// What was asked to be backed up.
    pub paths: Vec<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Full (0), incremental (1) or differential (2).
    pub kind: u8,
    /// The parent.
    pub parent: Option<SessionId>,
    /// Source items that could not be read.
    pub unreadable: u64,
    /// Bytes that the session added to the repository.
    pub added_bytes: u64,
    /// Set by maintenance sessions: where rewritten packs went.
    pub forwarding: Option<Forwarding>,
    /// What it is a copy of.
    pub original: Option<Original>,
    /// True for sessions that only wrote parts of the index anew.
    pub is_repair: bool,
}

impl Commit {
    /// True for snapshots, maintenance and repair, false for sessions that were given up.
    pub fn is_made(&self) -> bool {
        self.root.is_some() || self.forwarding.is_some() || self.is_repair
    }

    /// The commit as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| self.encode_fields(out))
    }

    fn encode_fields(&self, out: &mut Out<'_>) -> Encoded {
        let optional = [
            self.root.is_some(),
            self.parent.is_some(),
            self.forwarding.is_some(),
            self.original.is_some(),
            self.is_repair,
        ];
        out.map(19 + optional.into_iter().filter(|is_there| *is_there).count() as u64)?;
        out.u32(0)?.bytes(self.repository.as_bytes())?;
        out.u32(1)?.bytes(self.session.as_bytes())?;
        out.u32(2)?.bytes(self.client.as_bytes())?;
        out.u32(3)?.u64(self.sequence)?;
        out.u32(4)?.array(self.heads.len() as u64)?;
        for head in &self.heads {
            out.bytes(head)?;
        }
        if let Some(root) = &self.root {
            out.u32(5)?;
            encode_root(root, out)?;
        }
        out.u32(6)?;
        encode_objects(&self.indexes, out)?;
        out.u32(7)?;
        encode_objects(&self.packs, out)?;
        out.u32(8)?.bytes(&self.references)?;
        out.u32(9)?.u64(self.generation)?;
        out.u32(10)?.i64(self.time.0)?;
        out.u32(11)?.i64(self.started.0)?;
        out.u32(12)?.i64(self.committed.0)?;
        out.u32(13)?.str(&self.host)?;
        out.u32(14)?.str(&self.user)?;
        out.u32(15)?;
        encode_texts(&self.paths, out)?;
        out.u32(16)?;
        encode_texts(&self.tags, out)?;
        out.u32(17)?.u8(self.kind)?;
        if let Some(parent) = &self.parent {
            out.u32(18)?.bytes(parent.as_bytes())?;
        }
        out.u32(19)?.u64(self.unreadable)?;
        out.u32(20)?.u64(self.added_bytes)?;
        if let Some(forwarding) = &self.forwarding {
            out.u32(21)?;
            forwarding.encode(out)?;
        }
        if let Some(original) = &self.original {
            out.u32(22)?.array(2)?;
            out.bytes(original.repository.as_bytes())?.bytes(original.snapshot.as_bytes())?;
        }
        if self.is_repair {
            out.u32(23)?.bool(true)?;
        }
        Ok(())
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut commit = Self::blank();
        cbor::decode_with(bytes, "commit", |input| {
            cbor::each_field(input, |number, input| commit.decode_field(number, input))
        })?;
        Ok(commit)
    }

    fn decode_field(&mut self, number: u32, input: &mut Decoder<'_>) -> Decoded<bool> {
        match number {
            0 => self.repository = RepositoryId(cbor::fixed(input)?),
            1 => self.session = SessionId(cbor::fixed(input)?),
            2 => self.client = ClientId(cbor::fixed(input)?),
            3 => self.sequence = input.u64()?,
            4 => {
                let count = cbor::array_len(input)?;
                self.heads = (0..count).map(|_| cbor::fixed(input)).collect::<Decoded<_>>()?;
            }
            5 => self.root = Some(decode_root(input)?),
            6 => self.indexes = decode_objects(input)?,
            7 => self.packs = decode_objects(input)?,
            8 => self.references = cbor::fixed(input)?,
            9 => self.generation = input.u64()?,
            10 => self.time = Timestamp(input.i64()?),
            11 => self.started = Timestamp(input.i64()?),
            12 => self.committed = Timestamp(input.i64()?),
            13 => self.host = input.str()?.to_owned(),
            14 => self.user = input.str()?.to_owned(),
            15 => self.paths = decode_texts(input)?,
            16 => self.tags = decode_texts(input)?,
            17 => self.kind = input.u8()?,
            18 => self.parent = Some(SessionId(cbor::fixed(input)?)),
            19 => self.unreadable = input.u64()?,
            20 => self.added_bytes = input.u64()?,
            21 => self.forwarding = Some(Forwarding::decode(input)?),
            22 => self.original = Some(decode_original(input)?),
            23 => self.is_repair = input.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A commit that says nothing.
    pub(crate) fn blank() -> Self {
        Self {
            repository: RepositoryId([0; 16]),
            session: SessionId([0; 16]),
            client: ClientId([0; 16]),
            sequence: 0,
            heads: Vec::new(),
            root: None,
            indexes: Vec::new(),
            packs: Vec::new(),
            references: [0; 32],
            generation: 0,
            time: Timestamp(0),
            started: Timestamp(0),
            committed: Timestamp(0),
            host: String::new(),
            user: String::new(),
            paths: Vec::new(),
            tags: Vec::new(),
            kind: 0,
            parent: None,
            unreadable: 0,
            added_bytes: 0,
            forwarding: None,
            original: None,
            is_repair: false,
        }
    }
}

/// Encodes as `[level, counts]`, or where there is a root chunk as
/// `[level, counts, id, session, counter, epoch, salt, segment, length]`.
fn encode_root(root: &TableRoot, out: &mut Out<'_>) -> Encoded {
    out.array(if root.chunk.is_some() { 9 } else { 2 })?.u8(root.level)?;
    root.counts.encode(out)?;
    if let Some(chunk) = &root.chunk {
        out.bytes(chunk.id.as_bytes())?.bytes(chunk.pack.id.session.as_bytes())?;
        out.u32(chunk.pack.id.counter)?.u32(chunk.pack.epoch)?.bytes(&chunk.pack.salt)?;
        out.u32(chunk.segment)?.u32(chunk.len_bytes)?;
    }
    Ok(())
}

fn decode_root(input: &mut Decoder<'_>) -> Decoded<TableRoot> {
    let length = cbor::array_len(input)?;
    let (level, counts) = (input.u8()?, Counts::decode(input)?);
    let chunk = match length {
        2 => None,
        9 => Some(decode_root_chunk(input)?),
        _ => return Err(cbor::wrong("table root")),
    };
    if level > LEVELS_MAX {
        return Err(cbor::wrong("a table too deep"));
    }
    Ok(TableRoot { level, chunk, counts })
}

fn decode_root_chunk(input: &mut Decoder<'_>) -> Decoded<ChunkRef> {
    let id = ChunkId(cbor::fixed(input)?);
    let session = SessionId(cbor::fixed(input)?);
    let pack = PackId { session, counter: input.u32()? };
    let pack = PackRef { id: pack, epoch: input.u32()?, salt: cbor::fixed(input)? };
    Ok(ChunkRef { id, pack, segment: input.u32()?, len_bytes: input.u32()? })
}

fn decode_original(input: &mut Decoder<'_>) -> Decoded<Original> {
    cbor::array_of(input, 2)?;
    let repository = RepositoryId(cbor::fixed(input)?);
    Ok(Original { repository, snapshot: SessionId(cbor::fixed(input)?) })
}

/// Encodes as an array of `[counter, size, hash]`.
fn encode_objects(objects: &[WrittenObject], out: &mut Out<'_>) -> Encoded {
    out.array(objects.len() as u64)?;
    for object in objects {
        out.array(3)?.u32(object.counter)?.u64(object.size_bytes)?.bytes(&object.hash)?;
    }
    Ok(())
}

fn decode_objects(input: &mut Decoder<'_>) -> Decoded<Vec<WrittenObject>> {
    let count = cbor::array_len(input)?;
    let mut objects = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        cbor::array_of(input, 3)?;
        let (counter, size_bytes) = (input.u32()?, input.u64()?);
        objects.push(WrittenObject { counter, size_bytes, hash: cbor::fixed(input)? });
    }
    Ok(objects)
}

fn encode_texts(texts: &[String], out: &mut Out<'_>) -> Encoded {
    out.array(texts.len() as u64)?;
    for text in texts {
        out.str(text)?;
    }
    Ok(())
}

fn decode_texts(input: &mut Decoder<'_>) -> Decoded<Vec<String>> {
    let count = cbor::array_len(input)?;
    (0..count).map(|_| Ok(input.str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packset::PackSet;

    fn sample() -> Commit {
        let pack = PackId { session: SessionId([3; 16]), counter: 7 };
        let pack = PackRef { id: pack, epoch: 0, salt: [8; 32] };
        let chunk = ChunkRef { id: ChunkId([9; 32]), pack, segment: 4, len_bytes: 99 };
        let counts = Counts { files: 1, dirs: 2, others: 3, bytes: 4 };
        Commit {
            heads: vec![[5; 32], [6; 32]],
            root: Some(TableRoot { level: 1, chunk: Some(chunk), counts }),
            indexes: vec![WrittenObject { counter: 0, size_bytes: 10, hash: [1; 32] }],
            packs: vec![WrittenObject { counter: 1, size_bytes: 1 << 40, hash: [2; 32] }],
            paths: vec!["/a b".to_owned()],
            tags: vec!["daily".to_owned(), "ü".to_owned()],
            parent: Some(SessionId([4; 16])),
            time: Timestamp(-5),
            original: Some(Original {
                repository: RepositoryId([7; 16]),
                snapshot: SessionId([6; 16]),
            }),
            ..Commit::blank()
        }
    }

    #[test]
    fn round_trip() {
        let commit = sample();
        assert_eq!(Commit::decode(&commit.encode()).unwrap(), commit);
        let repair = Commit { is_repair: true, root: None, ..commit.clone() };
        assert!(repair.is_made());
        assert_eq!(Commit::decode(&repair.encode()).unwrap(), repair);
        let given_up = Commit { root: None, parent: None, original: None, ..commit };
        assert_eq!(Commit::decode(&given_up.encode()).unwrap(), given_up);
        let mut forwarding = Forwarding::default();
        forwarding.insert(PackId { session: SessionId([3; 16]), counter: 1 }, &PackSet::default());
        let maintenance = Commit { forwarding: Some(forwarding), ..given_up };
        assert_eq!(Commit::decode(&maintenance.encode()).unwrap(), maintenance);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert!(Commit::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Commit::decode(&bytes);
        }
    }
}
