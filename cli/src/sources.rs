//! What `backup` reads: files, standard input, or the output of a command.
//!
//! Turns flags into sources; reads nothing by itself.

use std::{io, path::PathBuf, sync::Arc};

use strongroom_core::{entry::FileTime, runtime::Timestamp, source::Source};
use strongroom_sources::{
    files::{FileSource, FileSourceOptions, FolderId},
    stream::{CommandOptions, CommandSource, CommandStderr, StreamOptions, StreamSource},
};

use crate::{
    access::Access,
    args::BackupArgs,
    error::{Failure, Result},
};

/// Refuses what can be refused before any work: missing paths, patterns that are none.
pub fn check(args: &BackupArgs) -> Result<()> {
    if args.stdin || args.stdin_from_command {
        return Ok(());
    }
    if args.paths.is_empty() {
        return Err(Failure::usage("nothing to back up: no path was given")
            .hint("name files and folders, or use --stdin or --stdin-from-command"));
    }
    FileSource::new(file_options(args))?;
    Ok(())
}

/// True if a run that failed at its end may begin again: a stream is gone then.
pub fn can_be_read_again(args: &BackupArgs) -> bool {
    !args.stdin && !args.stdin_from_command
}

/// What the flags name; `now` becomes the time of last change of a stream.
pub fn source<'a>(
    args: &BackupArgs,
    repositories: impl Iterator<Item = &'a Access>,
    now: Timestamp,
) -> Result<Arc<dyn Source>> {
    let (seconds, nanoseconds) = args.time.unwrap_or(now).parts();
    let time = FileTime { seconds, nanoseconds };
    let stream = StreamOptions { path: args.stdin_filename.clone(), time };
    if args.stdin_from_command {
        let options =
            CommandOptions { arguments: args.paths.clone(), stderr: CommandStderr::Inherit };
        return Ok(Arc::new(CommandSource::new(stream, options)?));
    }
    if args.stdin {
        return Ok(Arc::new(StreamSource::interruptible(stream, io::stdin())));
    }
    let mut options = file_options(args);
    // A repository of another machine is not in the way, nor is one that cannot be looked at.
    options.skip_folders =
        repositories.filter_map(|one| FolderId::of(one.local_folder()?).ok()).collect();
    Ok(Arc::new(FileSource::new(options)?))
}

fn file_options(args: &BackupArgs) -> FileSourceOptions {
    FileSourceOptions {
        roots: args.paths.iter().map(PathBuf::from).collect(),
        exclude_patterns: args.exclude.clone(),
        exclude_files: args.exclude_file.clone(),
        exclude_caches: args.exclude_caches,
        one_file_system: args.one_file_system,
        ..FileSourceOptions::default()
    }
}
