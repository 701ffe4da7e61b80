//! Measures the walk: `cargo run --release --example walk -- [--details] PATH...` prints the
//! entries found and the time for each, of five walks.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::{path::PathBuf, time::Instant};

use strongroom_core::source::Source;
use strongroom_sources::files::{FileSource, FileSourceOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (flags, roots): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|path| path.as_os_str() == "--details");
    let source = FileSource::new(FileSourceOptions { roots, ..FileSourceOptions::default() })?;
    for _ in 0..5 {
        let start = Instant::now();
        let (mut entries, mut problems) = (0_u64, 0_usize);
        let mut scan = source.scan()?;
        while let Some(batch) = scan.next_batch()? {
            entries += batch.entries.len() as u64;
            problems += batch.problems.len();
            if !flags.is_empty() {
                for found in &batch.entries {
                    batch.folder.details(found)?;
                }
            }
        }
        let elapsed = start.elapsed();
        let each = elapsed.as_secs_f64() * 1e6 / entries.max(1) as f64;
        println!("{entries} entries, {problems} problems, {elapsed:.2?}: {each:.2} us an entry");
    }
    Ok(())
}
