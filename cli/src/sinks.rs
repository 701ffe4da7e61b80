//! Where snapshots come back: folders of this machine.

use std::{path::Path, sync::Arc};

use strongroom_core::source::Sink;
use strongroom_sources::sink::{FileSink, FileSinkOptions, OwnerPolicy};

use crate::args::RestoreArgs;

/// The folder that `restore` was given.
pub fn folder(args: &RestoreArgs) -> Arc<dyn Sink> {
    let owner = match (args.no_owner, args.numeric_owner) {
        (true, _) => OwnerPolicy::None,
        (false, true) => OwnerPolicy::Numeric,
        (false, false) => OwnerPolicy::Names,
    };
    Arc::new(FileSink::new(&args.target, FileSinkOptions { owner, ..Default::default() }))
}

/// An empty folder for a test restore.
pub fn scratch(path: &Path) -> Arc<dyn Sink> {
    Arc::new(FileSink::new(path, FileSinkOptions::default()))
}
