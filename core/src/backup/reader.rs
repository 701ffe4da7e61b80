//! Reading one file: its content to chunks, while it stays the same file. Every byte is read once,
//! and given to each lane that needs the file: their chunkers cut it in different places.

use std::{io, sync::Arc};

use super::{
    shared::{Lanes, Shared},
    writer::{ChunkWriter, GROUP_BYTES_MAX},
};
use crate::{
    chunker::Chunker,
    entry::{Content, Details, Piece, Stat},
    error::{Error, ErrorKind, Result},
    format::page::PieceList,
    packset::PackSet,
    source::{Folder, Found, SourceFile},
};

/// Pieces that an entry lists itself; longer lists become chunks of their own.
const PIECES_INLINE_MAX: usize = 1_024;
/// Pieces of one such list chunk.
const PIECES_LISTED: usize = 8_192;

/// A file that was read.
#[derive(Debug)]
pub(super) struct FileRead {
    pub(super) details: Details,
    /// Its stat when it was opened for the read that counts.
    pub(super) stat: Stat,
    pub(super) content: Content,
    pub(super) torn: Torn,
}

/// Whether a file's content is of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// It is.
    No,
    /// It changed while it was read.
    Now,
    /// The source says that it is not.
    Before,
}

/// The error of a run whose source failed as a whole. A source that reads a repository speaks of
/// it in the engine's own errors.
pub(super) fn source_failed(error: io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::new(ErrorKind::Io, "cannot read the source").because(error))
}

/// True for errors of the engine's own readers that say nothing about the one file: the storage
/// that it comes from does not answer.
fn is_of_all(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    cause.is_some_and(|cause| cause.kind() != ErrorKind::Damaged)
}

/// Where one worker puts what it reads for one lane.
pub(super) struct LaneWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) chunker: Arc<Chunker>,
    pub(super) writer: ChunkWriter,
}

/// Reads files for one worker.
pub(super) struct FileReader {
    shared: Arc<Lanes>,
    lanes: Vec<LaneWriter>,
    buffer: Vec<u8>,
    /// A file that cannot be read fails the run.
    is_all_or_nothing: bool,
}

/// What becomes of one file in one lane.
struct Part {
    lane: usize,
    pieces: Pieces,
    /// How much of the buffer it has cut.
    start: usize,
    content: Content,
}

/// Why a file could not be stored: its own fault, or the whole run's.
enum Failed {
    Item(io::Error),
    Run(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Item(error)
    }
}

type Attempt<T> = std::result::Result<T, Failed>;

impl FileReader {
    pub(super) fn new(shared: Arc<Lanes>, lanes: Vec<LaneWriter>, is_all_or_nothing: bool) -> Self {
        Self { shared, lanes, buffer: Vec::new(), is_all_or_nothing }
    }

    /// Reads `found` and stores it in the `wanted` lanes; those that failed are not among the
    /// results. The inner error is the file's own: it cannot be read.
    pub(super) fn read(
        &mut self,
        folder: &dyn Folder,
        found: &Found,
        wanted: impl Iterator<Item = usize> + Clone,
    ) -> Result<io::Result<Vec<(usize, FileRead)>>> {
        match self.try_read(folder, found, wanted) {
            Ok(read) => Ok(Ok(read)),
            Err(Failed::Item(error)) if self.is_all_or_nothing || is_of_all(&error) => {
                Err(source_failed(error))
            }
            Err(Failed::Item(error)) => Ok(Err(error)),
            Err(Failed::Run(error)) => Err(error),
        }
    }

    /// Seals what has been gathered.
    pub(super) fn flush(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.shared.is_over()) {
            if let Err(error) = lane.writer.flush() {
                lane.shared.fail(error);
            }
        }
    }

    fn try_read(
        &mut self,
        folder: &dyn Folder,
        found: &Found,
        wanted: impl Iterator<Item = usize> + Clone,
    ) -> Attempt<Vec<(usize, FileRead)>> {
        let details = folder.details(found)?;
        let (mut stat, mut parts, mut torn) = self.read_once(folder, found, wanted.clone())?;
        if torn == Torn::Now {
            // once more: most writers are done by now
            (stat, parts, torn) = self.read_once(folder, found, wanted)?;
        }
        let mut read = Vec::with_capacity(parts.len());
        let last = parts.pop();
        for part in parts {
            let (details, content) = (details.clone(), part.content);
            read.push((part.lane, FileRead { details, stat, content, torn }));
        }
        if let Some(Part { lane, content, .. }) = last {
            read.push((lane, FileRead { details, stat, content, torn }));
        }
        Ok(read)
    }

    /// One pass; tells, too, whether the file changed meanwhile.
    fn read_once(
        &mut self,
        folder: &dyn Folder,
        found: &Found,
        wanted: impl Iterator<Item = usize>,
    ) -> Attempt<(Stat, Vec<Part>, Torn)> {
        let mut file = folder.open(found)?;
        let before = file.stat()?;
        let mut parts: Vec<Part> = wanted.map(Part::new).collect();
        let length = match before {
            Some(stat) if stat.size > 0 && stat.allocated_bytes < stat.size => {
                self.read_extents(&mut *file, stat.size, &mut parts)?
            }
            Some(stat) => {
                let mut limited = Limited::new(&mut *file, stat.size);
                self.read_stream(&mut limited, Some(stat.size), &mut parts)?;
                limited.count
            }
            None => {
                let mut all = Limited::new(&mut *file, u64::MAX);
                self.read_stream(&mut all, None, &mut parts)?;
                all.count
            }
        };
        // a stream that ended in an error must not become a snapshot
        file.finish().map_err(|error| {
            Error::new(ErrorKind::Io, "the source ended with an error").because(error)
        })?;
        let after = file.stat()?;
        let is_torn = before.is_some_and(|before| {
            after.is_none_or(|after| {
                (before.size, before.mtime, before.ctime) != (after.size, after.mtime, after.ctime)
            }) || length != before.size
        });
        let torn = match is_torn {
            _ if file.is_torn() => Torn::Before,
            true => Torn::Now,
            false => Torn::No,
        };
        let mut stat = before.unwrap_or(found.stat);
        stat.size = length;
        self.each_part(&mut parts, |lane, part| {
            part.content = std::mem::take(&mut part.pieces).finish(&mut lane.writer)?;
            Ok(())
        });
        Ok((stat, parts, torn))
    }

    /// Works for the lanes that still go on. One that fails loses its part, and ends; the others
    /// do not notice.
    fn each_part(
        &mut self,
        parts: &mut Vec<Part>,
        mut work: impl FnMut(&mut LaneWriter, &mut Part) -> Result<()>,
    ) {
        parts.retain_mut(|part| {
            let Some(lane) = self.lanes.get_mut(part.lane) else { return false };
            if lane.shared.is_over() {
                return false;
            }
            match work(lane, part) {
                Ok(()) => true,
                Err(error) => {
                    lane.shared.fail(error);
                    false
                }
            }
        });
    }

    /// Reads only where there is data; holes cost nothing. Returns the length.
    fn read_extents(
        &mut self,
        file: &mut dyn SourceFile,
        size: u64,
        parts: &mut Vec<Part>,
    ) -> Attempt<u64> {
        let hole = |parts: &mut Vec<Part>, length| {
            parts.iter_mut().for_each(|part| part.pieces.hole(length));
        };
        let mut offset = 0;
        while offset < size {
            let Some(extent) = file.next_extent(offset)? else { break };
            let (start, end) = (extent.start.clamp(offset, size), extent.end.min(size));
            hole(parts, start - offset);
            offset = start;
            if end <= start {
                break;
            }
            let mut limited = Limited::new(file, end - start);
            self.read_stream(&mut limited, None, parts)?;
            offset += limited.count;
            if limited.left > 0 {
                // it shrank while we read it: the end of this pass
                return Ok(offset);
            }
        }
        hole(parts, size.saturating_sub(offset));
        Ok(size)
    }

    /// Reads a stretch to its end, cutting it into chunks.
    fn read_stream(
        &mut self,
        input: &mut Limited<'_>,
        expected: Option<u64>,
        parts: &mut Vec<Part>,
    ) -> Attempt<()> {
        let lanes = parts.iter().filter_map(|part| self.lanes.get(part.lane));
        let bounds = lanes.map(|lane| {
            let params = lane.chunker.params();
            (params.min_bytes().min(GROUP_BYTES_MAX), params.max_bytes())
        });
        let Some((small, longest)) = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match (expected, &mut parts[..]) {
            (Some(size), [part]) if size <= small as u64 => self.read_in_place(input, part),
            (Some(size), _) if size <= small as u64 => self.read_small(input, &mut buffer, parts),
            _ => self.read_chunks(input, &mut buffer, 2 * longest, parts),
        };
        self.buffer = buffer;
        result
    }

    /// A file of one chunk that one lane needs: straight to where it is stored.
    fn read_in_place(&mut self, input: &mut Limited<'_>, part: &mut Part) -> Attempt<()> {
        let length = input.left as usize;
        let Some(lane) = self.lanes.get_mut(part.lane) else { return Ok(()) };
        if length == 0 || lane.shared.is_over() {
            return Ok(());
        }
        let added = match lane.writer.add_in_place(length, |room| input.fill(room)) {
            Ok(read) => read?,
            Err(error) => {
                lane.shared.fail(error);
                return Ok(());
            }
        };
        if let Some(chunk) = added {
            lane.count_read(u64::from(chunk.len_bytes));
            self.shared.advance_bytes(u64::from(chunk.len_bytes));
            if let Err(error) = part.pieces.chunk(Piece::Chunk(chunk), &mut lane.writer) {
                lane.shared.fail(error);
            }
        }
        Ok(())
    }

    /// A file of one chunk in every lane.
    fn read_small(
        &mut self,
        input: &mut Limited<'_>,
        buffer: &mut Vec<u8>,
        parts: &mut Vec<Part>,
    ) -> Attempt<()> {
        let length = input.left as usize;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let length = input.fill(&mut buffer[..length])?;
        if length == 0 {
            return Ok(());
        }
        self.shared.advance_bytes(length as u64);
        self.each_part(parts, |lane, part| {
            lane.count_read(length as u64);
            part.add(lane, &buffer[..length])
        });
        Ok(())
    }

    fn read_chunks(
        &mut self,
        input: &mut Limited<'_>,
        buffer: &mut Vec<u8>,
        window: usize,
        parts: &mut Vec<Part>,
    ) -> Attempt<()> {
        if buffer.len() < window {
            buffer.resize(window, 0);
        }
        let buffer = &mut buffer[..window];
        parts.iter_mut().for_each(|part| part.start = 0);
        let (mut end, mut is_end) = (0, false);
        loop {
            let before = end;
            while !is_end && end < buffer.len() {
                let count = input.read(&mut buffer[end..])?;
                is_end = count == 0;
                end += count;
                self.shared.advance_bytes(count as u64);
            }
            self.shared.check()?;
            let filled = &buffer[..end];
            self.each_part(parts, |lane, part| {
                lane.count_read((end - before) as u64);
                part.cut(lane, filled, is_end)
            });
            // without a lane that wants more, this pass is over
            let Some(kept) = parts.iter().map(|part| part.start).min() else { return Ok(()) };
            if is_end && kept == end {
                return Ok(());
            }
            buffer.copy_within(kept..end, 0);
            end -= kept;
            parts.iter_mut().for_each(|part| part.start -= kept);
        }
    }
}

impl LaneWriter {
    fn count_read(&self, bytes: u64) {
        let counter = &self.shared.counters.read_bytes;
        counter.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Part {
    fn new(lane: usize) -> Self {
        Self { lane, pieces: Pieces::default(), start: 0, content: Content::default() }
    }

    fn add(&mut self, lane: &mut LaneWriter, data: &[u8]) -> Result<()> {
        let chunk = lane.writer.add(data)?;
        self.pieces.chunk(Piece::Chunk(chunk), &mut lane.writer)
    }

    /// Cuts what can be cut of `filled`, from where it stands.
    fn cut(&mut self, lane: &mut LaneWriter, filled: &[u8], is_end: bool) -> Result<()> {
        while let Some(length) = lane.chunker.cut(&filled[self.start..], is_end) {
            if length == 0 {
                break;
            }
            self.add(lane, &filled[self.start..self.start + length])?;
            self.start += length;
        }
        Ok(())
    }
}

/// A stretch of a file: never reads beyond it, however much the file grows.
struct Limited<'a> {
    file: &'a mut dyn SourceFile,
    left: u64,
    count: u64,
}

/// One read asks for at most this much: small enough to stay in the cache until it is chunked.
const READ_BYTES: usize = 1 << 20;

impl<'a> Limited<'a> {
    fn new(file: &'a mut dyn SourceFile, length: u64) -> Self {
        Self { file, left: length, count: 0 }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(READ_BYTES);
        let room = usize::try_from(self.left).map_or(room, |left| left.min(room));
        if room == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..room])?;
        self.left -= count as u64;
        self.count += count as u64;
        Ok(count)
    }

    /// Reads until the buffer is full or the end is reached.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

/// The pieces of a file as they come; long lists go to chunks of their own.
#[derive(Default)]
struct Pieces {
    tail: Vec<Piece>,
    lists: Vec<crate::entry::ChunkRef>,
    packs: PackSet,
}

impl Pieces {
    fn hole(&mut self, length: u64) {
        if length > 0 {
            self.tail.push(Piece::Hole(length));
        }
    }

    fn chunk(&mut self, piece: Piece, writer: &mut ChunkWriter) -> Result<()> {
        self.tail.push(piece);
        if self.tail.len() >= PIECES_LISTED { self.spill(writer) } else { Ok(()) }
    }

    fn spill(&mut self, writer: &mut ChunkWriter) -> Result<()> {
        let list = PieceList { pieces: std::mem::take(&mut self.tail) };
        for piece in &list.pieces {
            if let Piece::Chunk(chunk) = piece {
                self.packs.insert(chunk.pack.id);
            }
        }
        self.lists.push(writer.add(&list.encode())?);
        Ok(())
    }

    fn finish(mut self, writer: &mut ChunkWriter) -> Result<Content> {
        if self.lists.is_empty() && self.tail.len() <= PIECES_INLINE_MAX {
            return Ok(Content::Inline(self.tail));
        }
        if !self.tail.is_empty() {
            self.spill(writer)?;
        }
        Ok(Content::Listed { lists: self.lists, packs: self.packs })
    }
}
