//! The library in 30 lines: a folder into an encrypted repository, and back.
//!
//! `cargo run -p strongroom-integration-tests --example library -- FOLDER REPOSITORY TARGET`

#![expect(clippy::print_stdout, reason = "an example talks on standard output")]

use std::{error::Error, path::Path, sync::Arc};

use strongroom_core::{
    backup::{BackupOptions, Parent, backup},
    id::ClientId,
    monitor::SilentMonitor,
    repository::{InitOptions, Repository, SnapshotKind},
    restore::{RestoreOptions, restore},
    runtime::{Runtime, random},
};
use strongroom_local::LocalTarget;
use strongroom_sources::{
    files::{FileSource, FileSourceOptions},
    sink::{FileSink, FileSinkOptions},
};
use zeroize::Zeroizing;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, place, target] = arguments.as_slice() else {
        return Err("usage: library FOLDER REPOSITORY TARGET".into());
    };
    let (runtime, monitor) = (Runtime::system(), Arc::new(SilentMonitor));
    let storage = Arc::new(LocalTarget::create(Path::new(place)).await?);
    let password = Zeroizing::new(b"correct horse battery staple".to_vec());
    let (repository, recovery_key) =
        Repository::init(storage, runtime.clone(), &password, &InitOptions::default()).await?;
    println!("keep this recovery key safe: {}", *recovery_key.to_text());

    let source =
        FileSource::new(FileSourceOptions { roots: vec![folder.into()], ..Default::default() })?;
    let options = BackupOptions {
        host: "example".into(),
        user: "example".into(),
        tags: Vec::new(),
        time: None,
        kind: SnapshotKind::Incremental,
        parent: Parent::Automatic,
        client: ClientId(random(&*runtime.randomness)),
        is_dry_run: false,
        workers: 2,
        compression: None,
    };
    let report = backup(&repository, Arc::new(source), &options, monitor.clone()).await?;
    println!("{} files stored in {} bytes", report.files.new, report.stored_bytes);

    let snapshots = repository.snapshots().await?.snapshots;
    let sink = Arc::new(FileSink::new(target, FileSinkOptions::default()));
    let latest = snapshots.last().ok_or("no snapshot")?;
    let report = restore(&repository, latest, sink, &RestoreOptions::default(), monitor).await?;
    println!("{} files restored", report.files_restored);
    Ok(())
}
