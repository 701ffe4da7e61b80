//! Is there room? Asked before the first byte is written, where that can be known.

use std::{collections::HashSet, sync::Arc};

use futures::StreamExt;

use super::{Context, control::is_of_one_object, decide, scope::Position};
use crate::{
    entry::{Content, Entry, EntryKind, Piece},
    error::{Error, ErrorKind, Result},
    format::page::{Counts, Page},
    repository::Table,
};

/// Fails if the data cannot fit.
///
/// Only an empty sink is judged: into another one it depends on what is right already. The
/// lengths of all files are enough to say yes; only if they are too much, the table is walked to
/// leave out holes, further names, and what is not asked for.
///
/// # Errors
/// `Io` with both figures if there is too little room; or the target failed.
pub(super) async fn check(
    context: &Arc<Context>,
    table: &Table,
    counts: &Counts,
    available_bytes: Option<u64>,
) -> Result<()> {
    let Some(available) = available_bytes else { return Ok(()) };
    if context.options.is_dry_run || !context.is_sink_empty || counts.bytes <= available {
        return Ok(());
    }
    let mut sum = Sum::default();
    let mut pages = table.pages_from(context.scope.start());
    while let Some(loaded) = pages.next().await {
        context.control.check()?;
        let is_over = match loaded {
            Ok(loaded) => sum.add_page(context, &loaded.page),
            // reported by the walk that restores
            Err(error) if is_of_one_object(&error) => false,
            Err(error) => return Err(error),
        };
        if is_over {
            break;
        }
    }
    if sum.bytes <= available {
        return Ok(());
    }
    let message = format!("not enough room: {} bytes to write, {available} available", sum.bytes);
    Err(Error::new(ErrorKind::Io, message)
        .hint("make room, choose another place, or restore a part of the snapshot"))
}

#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    /// Inodes with several names that are counted.
    inodes: HashSet<(u64, u64)>,
}

impl Sum {
    /// True if it was the last page of interest.
    fn add_page(&mut self, context: &Context, page: &Page) -> bool {
        for group in &page.groups {
            match context.scope.position(&group.folder) {
                Position::Before => continue,
                Position::Inside(_) => {}
                Position::After => return true,
            }
            for entry in &group.entries {
                let is_asked_for = entry.stat.kind == EntryKind::File
                    && context.scope.names(&entry.name)
                    && context.scope.accepts(&group.folder, &entry.name, EntryKind::File);
                if is_asked_for {
                    self.add(entry);
                }
            }
        }
        false
    }

    fn add(&mut self, entry: &Entry) {
        let stat = &entry.stat;
        if entry.is_hard_linked() && !self.inodes.insert((stat.device, stat.inode)) {
            return;
        }
        if decide::refuse(entry).is_none() {
            self.bytes = self.bytes.saturating_add(data_bytes(entry));
        }
    }
}

/// Bytes of content without holes; where that is not known, the least that it can be.
fn data_bytes(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Listed { .. } => entry.stat.size.min(entry.stat.allocated_bytes),
        Content::Inline(pieces) => pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Chunk(_)))
            .fold(0, |sum, piece| sum.saturating_add(piece.len_bytes())),
    }
}
