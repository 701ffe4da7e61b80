//! The directories of all packs: each is read and checked, and kept as long as there is room, so
//! that references to chunks can be looked up.

use std::{collections::HashMap, sync::Arc};

use super::findings::{Extent, Findings, reason};
use crate::{
    entry::{ChunkRef, PackRef},
    error::Result,
    id::{ChunkId, PackId},
    repository::packs::{PackDirectory, PackReader},
};

/// Memory for directories that are kept, in bytes.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A chunk of a directory: segment, id, length.
type Row = (u32, ChunkId, u32);

/// A directory in the form that lookups need.
#[derive(Debug)]
struct Kept {
    pack: PackRef,
    /// Sorted.
    rows: Box<[Row]>,
    last_use: u64,
}

impl Kept {
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.rows)
    }

    fn new(directory: &PackDirectory) -> Self {
        let segments = (0u32..).zip(directory.segments());
        let mut rows: Vec<Row> = segments
            .flat_map(|(number, row)| row.chunks.iter().map(move |(id, len)| (number, *id, *len)))
            .collect();
        rows.sort_unstable();
        Self { pack: *directory.pack(), rows: rows.into(), last_use: 0 }
    }

    fn holds(&self, chunk: &ChunkRef) -> bool {
        let row = (chunk.segment, chunk.id, chunk.len_bytes);
        self.rows.binary_search(&row).is_ok()
    }
}

/// Looks up chunks in the directories of packs.
pub(super) struct Directories {
    reader: Arc<PackReader>,
    /// `None`: the directory cannot be read, which was said already.
    packs: HashMap<PackId, Option<Kept>>,
    kept_bytes: usize,
    uses: u64,
}

impl Directories {
    pub(super) fn new(reader: Arc<PackReader>) -> Self {
        Self { reader, packs: HashMap::new(), kept_bytes: 0, uses: 0 }
    }

    /// Notes a pack that is not there.
    pub(super) fn add_missing(&mut self, pack: PackId, findings: &mut Findings) {
        self.add(pack, None, &Err("is missing".to_owned()), findings);
    }

    /// Takes in the outcome of reading a directory, and compares the size of the object if that
    /// is known.
    pub(super) fn add(
        &mut self,
        pack: PackId,
        size_bytes: Option<u64>,
        read: &std::result::Result<PackDirectory, String>,
        findings: &mut Findings,
    ) {
        match read {
            Ok(directory) => {
                if let Some(size_bytes) = size_bytes {
                    check_size(directory, size_bytes, findings);
                }
                self.keep(pack, Some(Kept::new(directory)));
            }
            Err(why) => {
                findings.pack(pack, Extent::Whole, why.clone());
                self.keep(pack, None);
            }
        }
    }

    /// Where the chunk lies, as far as the pack's directory tells; `None` if it is not where the
    /// reference says, which is a finding.
    ///
    /// # Errors
    /// What keeps the verification from going on.
    pub(super) async fn check(
        &mut self,
        chunk: &ChunkRef,
        findings: &mut Findings,
    ) -> Result<Option<ChunkRef>> {
        let located = match self.reader.locate(chunk).await {
            Ok(located) => located,
            Err(error) => {
                findings.pack(chunk.pack.id, Extent::Whole, reason(error)?);
                return Ok(None);
            }
        };
        let chunk = &located;
        let pack = chunk.pack.id;
        if !self.packs.contains_key(&pack) {
            let read = read(&self.reader, pack).await?;
            self.add(pack, None, &read, findings);
        }
        self.uses += 1;
        let Some(Some(kept)) = self.packs.get_mut(&pack) else { return Ok(None) };
        kept.last_use = self.uses;
        if kept.pack != chunk.pack {
            findings.pack(pack, Extent::Whole, "is another pack than the one referred to");
            return Ok(None);
        }
        let is_there = kept.holds(chunk);
        if !is_there {
            let (id, segment) = (chunk.id, chunk.segment);
            let why = format!("lacks chunk {id} in segment {segment}, which a snapshot refers to");
            findings.pack(pack, Extent::segment(segment), why);
        }
        Ok(is_there.then_some(located))
    }

    fn keep(&mut self, pack: PackId, mut entry: Option<Kept>) {
        if let Some(kept) = &mut entry {
            self.uses += 1;
            kept.last_use = self.uses;
            self.kept_bytes += kept.bytes();
        }
        let replaced = self.packs.insert(pack, entry).flatten();
        self.kept_bytes -= replaced.as_ref().map_or(0, Kept::bytes);
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets the directories that were not used for longest, down to three quarters.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<(u64, PackId)> = self
            .packs
            .iter()
            .filter_map(|(pack, kept)| Some((kept.as_ref()?.last_use, *pack)))
            .collect();
        ages.sort_unstable();
        ages.pop(); // the newest stays, however large it is
        for (_, pack) in ages {
            if self.kept_bytes <= KEPT_BYTES_MAX / 4 * 3 {
                break;
            }
            let forgotten = self.packs.remove(&pack).flatten();
            self.kept_bytes -= forgotten.as_ref().map_or(0, Kept::bytes);
        }
    }
}

/// Reads the directory of a pack. The inner error says what is wrong with the pack.
///
/// # Errors
/// What keeps the verification from going on.
pub(super) async fn read(
    reader: &PackReader,
    pack: PackId,
) -> Result<std::result::Result<PackDirectory, String>> {
    match reader.read_directory(pack, None).await {
        Ok(directory) => Ok(Ok(directory)),
        Err(error) => Ok(Err(reason(error)?)),
    }
}

/// Compares the size of the object with what its directory says.
fn check_size(directory: &PackDirectory, size_bytes: u64, findings: &mut Findings) {
    let (pack, end) = (directory.pack().id, directory.end());
    if size_bytes == end {
        return;
    }
    let why = format!("has {size_bytes} bytes instead of {end}");
    let is_lost =
        |segment: &u32| directory.segment_range(*segment).is_ok_and(|range| range.end > size_bytes);
    let lost = (0..directory.segments().len() as u32).filter(is_lost).collect();
    findings.pack(pack, Extent::Segments(lost), why);
}
