//! Reading one file: its content to chunks, while it stays the same file.

use std::{io, sync::Arc};

use super::{
    shared::Shared,
    writer::{ChunkWriter, GROUP_BYTES_MAX},
};
use crate::{
    chunker::Chunker,
    entry::{Content, Details, Piece, Stat},
    error::{Error, ErrorKind, Result},
    format::page::PieceList,
    monitor::Progress,
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

/// Reads files for one worker.
pub(super) struct FileReader {
    chunker: Arc<Chunker>,
    shared: Arc<Shared>,
    writer: ChunkWriter,
    buffer: Vec<u8>,
    /// A file that cannot be read fails the run.
    is_all_or_nothing: bool,
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
    pub(super) fn new(
        chunker: Arc<Chunker>,
        shared: Arc<Shared>,
        writer: ChunkWriter,
        is_all_or_nothing: bool,
    ) -> Self {
        Self { chunker, shared, writer, buffer: Vec::new(), is_all_or_nothing }
    }

    /// Reads and stores `found`. The inner error is the file's own: it cannot be read.
    pub(super) fn read(
        &mut self,
        folder: &dyn Folder,
        found: &Found,
    ) -> Result<io::Result<FileRead>> {
        match self.try_read(folder, found) {
            Ok(read) => Ok(Ok(read)),
            Err(Failed::Item(error)) if self.is_all_or_nothing => Err(source_failed(error)),
            Err(Failed::Item(error)) => Ok(Err(error)),
            Err(Failed::Run(error)) => Err(error),
        }
    }

    /// Seals what has been gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }

    fn try_read(&mut self, folder: &dyn Folder, found: &Found) -> Attempt<FileRead> {
        let details = folder.details(found)?;
        let (mut stat, mut content, mut torn) = self.read_once(folder, found)?;
        if torn == Torn::Now {
            // once more: most writers are done by now
            (stat, content, torn) = self.read_once(folder, found)?;
        }
        Ok(FileRead { details, stat, content, torn })
    }

    /// One pass; tells, too, whether the file changed meanwhile.
    fn read_once(&mut self, folder: &dyn Folder, found: &Found) -> Attempt<(Stat, Content, Torn)> {
        let mut file = folder.open(found)?;
        let before = file.stat()?;
        let mut pieces = Pieces::default();
        match before {
            Some(stat) if stat.size > 0 && stat.allocated_bytes < stat.size => {
                self.read_extents(&mut *file, stat.size, &mut pieces)?;
            }
            Some(stat) => {
                let mut limited = Limited { file: &mut *file, left: stat.size };
                self.read_stream(&mut limited, Some(stat.size), &mut pieces)?;
            }
            None => {
                let mut all = Limited { file: &mut *file, left: u64::MAX };
                self.read_stream(&mut all, None, &mut pieces)?;
            }
        }
        // a stream that ended in an error must not become a snapshot
        file.finish().map_err(|error| {
            Error::new(ErrorKind::Io, "the source ended with an error").because(error)
        })?;
        let after = file.stat()?;
        let is_torn = before.is_some_and(|before| {
            after.is_none_or(|after| {
                (before.size, before.mtime, before.ctime) != (after.size, after.mtime, after.ctime)
            }) || pieces.length != before.size
        });
        let torn = match is_torn {
            _ if file.is_torn() => Torn::Before,
            true => Torn::Now,
            false => Torn::No,
        };
        let mut stat = before.unwrap_or(found.stat);
        stat.size = pieces.length;
        Ok((stat, pieces.finish(&mut self.writer)?, torn))
    }

    /// Reads only where there is data; holes cost nothing.
    fn read_extents(
        &mut self,
        file: &mut dyn SourceFile,
        size: u64,
        pieces: &mut Pieces,
    ) -> Attempt<()> {
        let mut offset = 0;
        while offset < size {
            let Some(extent) = file.next_extent(offset)? else { break };
            let (start, end) = (extent.start.clamp(offset, size), extent.end.min(size));
            pieces.hole(start - offset);
            if end <= start {
                break;
            }
            let mut limited = Limited { file, left: end - start };
            self.read_stream(&mut limited, None, pieces)?;
            let missing = limited.left;
            offset = end;
            if missing > 0 {
                // it shrank while we read it: the end of this pass
                return Ok(());
            }
        }
        pieces.hole(size.saturating_sub(offset));
        Ok(())
    }

    /// Reads a stretch to its end, cutting it into chunks.
    fn read_stream(
        &mut self,
        input: &mut Limited<'_>,
        expected: Option<u64>,
        pieces: &mut Pieces,
    ) -> Attempt<()> {
        let small = self.chunker.params().min_bytes().min(GROUP_BYTES_MAX);
        if expected.is_some_and(|size| size <= small as u64) {
            return self.read_small(input, pieces);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_chunks(input, &mut buffer, pieces);
        self.buffer = buffer;
        result
    }

    fn read_small(&mut self, input: &mut Limited<'_>, pieces: &mut Pieces) -> Attempt<()> {
        let length = input.left as usize;
        if length == 0 {
            return Ok(());
        }
        let chunk = self.writer.add_in_place(length, |room| input.fill(room))??;
        if let Some(chunk) = chunk {
            self.count_read(u64::from(chunk.len_bytes));
            pieces.chunk(Piece::Chunk(chunk), &mut self.writer)?;
        }
        Ok(())
    }

    fn read_chunks(
        &mut self,
        input: &mut Limited<'_>,
        buffer: &mut Vec<u8>,
        pieces: &mut Pieces,
    ) -> Attempt<()> {
        buffer.resize(2 * self.chunker.params().max_bytes(), 0);
        let (mut start, mut end, mut is_end) = (0, 0, false);
        loop {
            while !is_end && end < buffer.len() {
                let count = input.read(&mut buffer[end..])?;
                is_end = count == 0;
                end += count;
                self.count_read(count as u64);
            }
            self.shared.check()?;
            while let Some(length) = self.chunker.cut(&buffer[start..end], is_end) {
                if length == 0 {
                    break;
                }
                let chunk = self.writer.add(&buffer[start..start + length])?;
                pieces.chunk(Piece::Chunk(chunk), &mut self.writer)?;
                start += length;
            }
            if is_end && start == end {
                return Ok(());
            }
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
    }

    fn count_read(&self, bytes: u64) {
        let counter = &self.shared.counters.read_bytes;
        counter.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        self.shared.advance(Progress { bytes_done: bytes, ..Progress::default() });
    }
}

/// A stretch of a file: never reads beyond it, however much the file grows.
struct Limited<'a> {
    file: &'a mut dyn SourceFile,
    left: u64,
}

/// One read asks for at most this much: small enough to stay in the cache until it is chunked.
const READ_BYTES: usize = 1 << 20;

impl Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(READ_BYTES);
        let room = usize::try_from(self.left).map_or(room, |left| left.min(room));
        if room == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..room])?;
        self.left -= count as u64;
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
    length: u64,
    tail: Vec<Piece>,
    lists: Vec<crate::entry::ChunkRef>,
    packs: PackSet,
}

impl Pieces {
    fn hole(&mut self, length: u64) {
        if length > 0 {
            self.length += length;
            self.tail.push(Piece::Hole(length));
        }
    }

    fn chunk(&mut self, piece: Piece, writer: &mut ChunkWriter) -> Result<()> {
        self.length += piece.len_bytes();
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
