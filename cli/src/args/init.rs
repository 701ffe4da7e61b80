//! `init`.

use clap::Args;
use strongroom_core::{
    chunker::ChunkParams, compress::Compression, crypto::KdfCost, repository::InitOptions,
};

use super::values::{compression, size, switch};
use crate::error::{Failure, Result};

const AFTER_HELP: &str = "\
Examples:
  strongroom init -r /srv/backup
  strongroom init -r /srv/backup --password-file /etc/strongroom/password --compression 9
  strongroom init -r /srv/backup --key-file /etc/strongroom/key

The password opens the repository. The recovery key that is printed opens it too; it is not
stored anywhere and cannot be printed again. Without both, nobody can read what is backed up.";

/// Flags of `init`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct InitArgs {
    /// How hard to compress: off, fast, or a level from 1 (quick) to 19 (small) [default: 3]
    #[arg(long, value_name = "LEVEL", value_parser = compression::parse)]
    pub compression: Option<Compression>,

    /// Average size of the pieces that content is cut into, 4KiB to 4MiB [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub chunk_size: Option<u64>,

    /// Size of the objects that content is collected in, 1MiB to 128MiB [default: 32MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub pack_size: Option<u64>,

    /// Memory that one guess of the password costs, up to 4GiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub kdf_memory: Option<u64>,

    /// Passes over that memory, 1 to 64 [default: 3]
    #[arg(long, value_name = "COUNT")]
    pub kdf_passes: Option<u32>,

    /// Keep parity and copies beside the objects, which heal damage, for 3 % more room: on or off
    /// [default: on where a single disk may hold them (folders, SMB), else off]
    #[arg(long, value_name = "SWITCH", value_parser = switch::parse)]
    pub parity: Option<bool>,
}

impl InitArgs {
    /// The options for the engine; what it would refuse is refused here, by the flag's name.
    pub fn options(&self) -> Result<InitOptions> {
        let mut options = InitOptions::default();
        if let Some(compression) = self.compression {
            options.settings.compression = compression;
        }
        if let Some(average) = self.chunk_size {
            options.settings.chunking = chunking(average)?;
        }
        if let Some(bytes) = self.pack_size {
            options.settings.pack_target_bytes = u32::try_from(bytes)
                .ok()
                .filter(|bytes| (1 << 20..=128 << 20).contains(bytes))
                .ok_or_else(|| Failure::usage("--pack-size is not between 1MiB and 128MiB"))?;
        }
        options.kdf = self.kdf(options.kdf)?;
        options.parity = self.parity;
        Ok(options)
    }

    fn kdf(&self, defaults: KdfCost) -> Result<KdfCost> {
        kdf_cost(self.kdf_memory, self.kdf_passes, defaults)
    }
}

/// The cost of a password with this memory in bytes and so many passes.
pub fn kdf_cost(memory: Option<u64>, passes: Option<u32>, defaults: KdfCost) -> Result<KdfCost> {
    let memory_kib = match memory {
        None => defaults.memory_kib,
        Some(bytes) => u32::try_from(bytes >> 10).unwrap_or(u32::MAX),
    };
    let passes = passes.unwrap_or(defaults.passes);
    let cost = KdfCost { memory_kib, passes, ..defaults };
    cost.check().map_err(|error| Failure::usage(format!("--kdf-memory, --kdf-passes: {error}")))?;
    Ok(cost)
}

/// Pieces of `average` bytes, with the limits around it in the proportion of the defaults.
fn chunking(average: u64) -> Result<ChunkParams> {
    let refused = || Failure::usage("--chunk-size is not between 4KiB and 4MiB");
    if !(4 << 10..=4 << 20).contains(&average) {
        return Err(refused());
    }
    let default = ChunkParams::default();
    let scaled = |bytes: usize| {
        let scaled = bytes as u64 * average / default.average_bytes() as u64;
        u32::try_from(scaled).map_err(|_| refused())
    };
    let (min, max) = (scaled(default.min_bytes())?, scaled(default.max_bytes())?);
    let average = u32::try_from(average).map_err(|_| refused())?;
    ChunkParams::content_defined(min, average, max)
        .map_err(|error| Failure::usage(format!("--chunk-size: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: InitArgs = InitArgs {
        compression: None,
        chunk_size: None,
        pack_size: None,
        kdf_memory: None,
        kdf_passes: None,
        parity: None,
    };

    #[test]
    fn without_flags_the_engine_decides() {
        let options = NONE.options().unwrap();
        let expected = InitOptions::default();
        assert_eq!(options.settings, expected.settings);
        assert_eq!(options.kdf, expected.kdf);
    }

    #[test]
    fn sizes_are_taken_over() {
        let args = InitArgs { pack_size: Some(8 << 20), kdf_memory: Some(1 << 20), ..NONE };
        let options = args.options().unwrap();
        assert_eq!(options.settings.pack_target_bytes, 8 << 20);
        assert_eq!(options.kdf.memory_kib, 1 << 10);
        let default = ChunkParams::default();
        let doubled = default.average_bytes() as u64 * 2;
        let args = InitArgs { chunk_size: Some(doubled), ..NONE };
        let chunking = args.options().unwrap().settings.chunking;
        assert_eq!(chunking.average_bytes() as u64, doubled);
        assert_eq!(chunking.max_bytes(), default.max_bytes() * 2);
    }

    #[test]
    fn wrong_sizes_are_refused_by_name() {
        let cases = [
            (InitArgs { pack_size: Some(1), ..NONE }, "--pack-size"),
            (InitArgs { pack_size: Some(u64::MAX), ..NONE }, "--pack-size"),
            (InitArgs { chunk_size: Some(7), ..NONE }, "--chunk-size"),
            (InitArgs { chunk_size: Some(u64::MAX), ..NONE }, "--chunk-size"),
            (InitArgs { kdf_memory: Some(8 << 30), ..NONE }, "--kdf-memory"),
            (InitArgs { kdf_passes: Some(0), ..NONE }, "--kdf-passes"),
        ];
        for (args, name) in cases {
            let failure = args.options().unwrap_err();
            assert!(failure.to_string().contains(name), "{failure}");
        }
    }
}
