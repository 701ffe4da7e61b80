//! Where snapshots come back: folders of this machine.

use std::{path::Path, sync::Arc};

use strongroom_core::source::Sink;
use strongroom_sources::sink::{FileSink, FileSinkOptions};

use crate::args::RestoreArgs;

/// The folder that `restore` was given.
pub fn folder(args: &RestoreArgs) -> Arc<dyn Sink> {
    let options = FileSinkOptions { no_owner: args.no_owner, numeric_owner: args.numeric_owner };
    Arc::new(FileSink::new(&args.target, options))
}

/// An empty folder for a test restore.
pub fn scratch(path: &Path) -> Arc<dyn Sink> {
    Arc::new(FileSink::new(path, FileSinkOptions::default()))
}
