//! What `backup` reads: files, standard input, or the output of a command.
//!
//! Turns flags into sources; reads nothing by itself.

use std::{io, path::PathBuf, sync::Arc};

use strongroom_core::{error::Result as CoreResult, source::Source};
use strongroom_sources::{
    files::{FileSource, FileSourceOptions, FolderId},
    stream::{CommandSource, StreamSource},
};

use crate::{
    access::Access,
    args::BackupArgs,
    error::{Failure, Result},
};

/// Refuses what can be refused before any work: missing paths, patterns and names that are none.
pub fn check(args: &BackupArgs) -> Result<()> {
    if args.paths.is_empty() && !args.stdin {
        return Err(Failure::usage("nothing to back up: no path was given")
            .hint("name files and folders, or use --stdin or --stdin-from-command"));
    }
    // Making a source reads and runs nothing yet.
    make(args, Vec::new())?;
    Ok(())
}

/// What the flags name, but not the repository itself.
pub fn source(args: &BackupArgs, access: &Access) -> Result<Arc<dyn Source>> {
    // A folder that cannot be looked at cannot be saved either.
    let repository = access.local_folder().and_then(|path| FolderId::of(path).ok());
    Ok(make(args, repository.into_iter().collect())?)
}

fn make(args: &BackupArgs, skip_folders: Vec<FolderId>) -> CoreResult<Arc<dyn Source>> {
    let name = args.stdin_filename.as_bytes();
    if args.stdin_from_command {
        return Ok(Arc::new(CommandSource::new(name, args.paths.clone())?));
    }
    if args.stdin {
        return Ok(Arc::new(StreamSource::new(name, Box::new(io::stdin()))?));
    }
    Ok(Arc::new(FileSource::new(FileSourceOptions {
        roots: args.paths.iter().map(PathBuf::from).collect(),
        exclude_patterns: args.exclude.clone(),
        exclude_files: args.exclude_file.clone(),
        exclude_caches: args.exclude_caches,
        one_file_system: args.one_file_system,
        skip_folders,
        ..FileSourceOptions::default()
    })?))
}
