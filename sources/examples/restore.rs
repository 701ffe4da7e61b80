//! Measures the sink: `cargo run --release --example restore -- FOLDER` restores 60,000 files of
//! 13,000 bytes into 100 new folders below FOLDER, and removes them again, three times.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::time::Instant;

use strongroom_core::{
    entry::{Content, Details, Entry, EntryKind, FileTime, Stat},
    source::{Sink, SinkDir},
};
use strongroom_sources::sink::{FileSink, FileSinkOptions};

const FILES: usize = 60_000;
const FOLDERS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args_os().nth(1).ok_or("name a folder")?;
    let root = FileSink::new(target, FileSinkOptions::default()).root()?;
    for _ in 0..3 {
        let start = Instant::now();
        restore(&*root)?;
        let each = start.elapsed().as_secs_f64() * 1e6 / FILES as f64;
        let start = Instant::now();
        root.remove(b"strongroom-measure")?;
        let removed = start.elapsed().as_secs_f64() * 1e6 / FILES as f64;
        println!("{each:.2} us a file, {removed:.2} us to remove it");
    }
    Ok(())
}

fn restore(root: &dyn SinkDir) -> std::io::Result<()> {
    let (top, _) = root.open_dir(b"strongroom-measure", false)?;
    let bytes = [7; 13_000];
    for number in 0..FOLDERS {
        let (folder, _) = top.open_dir(number.to_string().as_bytes(), false)?;
        for number in 0..FILES / FOLDERS {
            let entry = file(format!("file{number}").into_bytes(), bytes.len() as u64);
            let file = folder.create_file(&entry.name, entry.stat.size)?;
            file.write_at(0, &bytes)?;
            file.finish(&entry)?;
        }
    }
    Ok(())
}

fn file(name: Vec<u8>, size: u64) -> Entry {
    let stat = Stat {
        kind: EntryKind::File,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        size,
        allocated_bytes: size,
        mtime: FileTime { seconds: 1_000_000_000, nanoseconds: 0 },
        ctime: FileTime::default(),
        inode: 0,
        device: 0,
        links: 1,
        device_number: 0,
    };
    let details = Details::default();
    Entry { name, stat, details, content: Content::default(), is_torn: false }
}
