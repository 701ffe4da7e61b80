//! `prune`, and how `forget --prune` does it.

use std::time::Duration;

use clap::Args;
use strongroom_core::prune::UnusedMax;

use super::values::{seconds, size, unused};

const PRUNE: &str = "How to prune";

const AFTER_HELP: &str = "\
Examples:
  strongroom prune -r /srv/backup --dry-run
  strongroom prune -r /srv/backup --max-unused 10% --repack-size 50GiB
  strongroom forget -r /srv/backup --keep-daily 7 --prune

Backups may run meanwhile, and so may other prunes: what a running backup may refer to stays until
it has ended. A backup that shows no sign of life for --fence-after (its machine is off, or cut off)
is given up: it cannot end any more, and starting it again takes over what it has stored.
On a storage that may accept two objects under one name, or lists late, prune is refused.";

/// Flags of `prune`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PruneArgs {
    #[command(flatten)]
    pub how: PruneHow,

    /// Say what would be removed and rewritten; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// How much is rewritten, and who is waited for.
#[derive(Debug, Clone, Args)]
pub struct PruneHow {
    /// Rewrite packs until no more than this is unused: a share as 5%, a size as 10GiB, or
    /// `unlimited` to remove only packs that nobody needs at all
    #[arg(long, value_name = "LIMIT", default_value = "5%", help_heading = PRUNE)]
    #[arg(value_parser = unused::parse)]
    pub max_unused: UnusedMax,

    /// Rewrite packs of at most so many bytes in this run
    #[arg(long, value_name = "SIZE", value_parser = size::parse, help_heading = PRUNE)]
    pub repack_size: Option<u64>,

    /// Give up backups that show no sign of life for so long
    #[arg(long, value_name = "TIME", default_value = "15m", help_heading = PRUNE)]
    #[arg(value_parser = seconds::parse)]
    pub fence_after: Duration,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Verb};

    #[test]
    fn limits_and_defaults() {
        let words = "strongroom prune --max-unused 10GiB --repack-size 1M --fence-after 30s -n";
        let Verb::Prune(args) = Cli::try_parse_from(words.split(' ')).unwrap().verb else {
            panic!("another verb");
        };
        assert_eq!(args.how.max_unused, UnusedMax::Bytes(10 << 30));
        assert_eq!(args.how.repack_size, Some(1 << 20));
        assert_eq!(args.how.fence_after, Duration::from_secs(30));
        assert!(args.dry_run);
        let Verb::Prune(args) = Cli::try_parse_from(["strongroom", "prune"]).unwrap().verb else {
            panic!("another verb");
        };
        assert_eq!(args.how.max_unused, UnusedMax::Percent(5.0));
        assert_eq!(args.how.fence_after, Duration::from_secs(900));
    }
}
