//! `forget`, `tag`, `hold` and `release`.

use clap::Args;
use strongroom_core::retention::{Count, GroupBy, Policy, Span};

use super::{
    look::FilterArgs,
    prune::PruneHow,
    values::{snapshot, snapshot::SnapshotChoice, tag, tag::TagSet, zone, zone::Zone},
};

const POLICY: &str = "What to keep";

const AFTER_HELP: &str = "\
Examples:
  strongroom forget -r /srv/backup --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  strongroom forget -r /srv/backup --host web1 --keep-last 3 --keep-within 2m --keep-tag release
  strongroom forget -r /srv/backup --keep-within-daily 14d --keep-yearly unlimited --json
  strongroom forget -r /srv/backup 3f2a 9c41
  strongroom forget -r /srv/backup --undo 3f2a

What a rule keeps is kept, whatever the others say; held snapshots always are. Rules apply to each
host and set of paths separately. Of the snapshots of an hour, day, week, month or year the newest
stands for it; the oldest of all stays as long as a count is not used up. Spans as in 1y5m7d2h
(years, months, days, hours) reach back from the newest snapshot. The data of forgotten snapshots
stays until the next prune; until then --undo brings them back, under a new id.";

/// Flags of `forget`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ForgetArgs {
    /// Forget these snapshots, whatever their age: id, latest, latest~N or @TIME
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    #[arg(required_unless_present = "PolicyArgs")]
    pub snapshots: Vec<SnapshotChoice>,

    #[command(flatten)]
    pub policy: PolicyArgs,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// What makes a group of snapshots: some of host, paths and tags; '' is one group of all
    #[arg(short, long, value_name = "WHAT,...", default_value = "host,paths")]
    #[arg(value_parser = |text: &str| text.parse::<GroupBy>())]
    pub group_by: GroupBy,

    /// Whose calendar says when a day begins, as in Europe/Berlin or UTC [default: the system's]
    #[arg(long, value_name = "ZONE", value_parser = zone::parse)]
    pub time_zone: Option<Zone>,

    /// Print what would be kept and forgotten, and why; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Forget the last snapshot of a group, too
    #[arg(long)]
    pub force: bool,

    /// Give their room back at once: `prune` afterwards, if anything was forgotten
    #[arg(long)]
    pub prune: bool,

    #[command(flatten)]
    pub how: PruneHow,

    /// Bring forgotten snapshots back, as new ones, while their data is there
    #[arg(long, requires = "snapshots")]
    #[arg(conflicts_with_all = ["PolicyArgs", "dry_run", "force", "prune"])]
    #[arg(conflicts_with_all = ["group_by", "time_zone"])]
    pub undo: bool,
}

/// Which snapshots to keep.
#[derive(Debug, Clone, Args)]
#[group(id = "PolicyArgs", multiple = true, conflicts_with = "snapshots")]
pub struct PolicyArgs {
    /// Keep the N newest; N may be `unlimited` here and below
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_last: Option<Count>,

    /// Keep one for each of the N newest hours that have any
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_hourly: Option<Count>,

    /// Keep one for each of the N newest days that have any
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_daily: Option<Count>,

    /// Keep one for each of the N newest ISO weeks (from Monday) that have any
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_weekly: Option<Count>,

    /// Keep one for each of the N newest months that have any
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_monthly: Option<Count>,

    /// Keep one for each of the N newest years that have any
    #[arg(long, value_name = "N", help_heading = POLICY)]
    pub keep_yearly: Option<Count>,

    /// Keep all that are less than this older than the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within: Option<Span>,

    /// Keep one for each hour within this span before the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within_hourly: Option<Span>,

    /// Keep one for each day within this span before the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within_daily: Option<Span>,

    /// Keep one for each ISO week within this span before the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within_weekly: Option<Span>,

    /// Keep one for each month within this span before the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within_monthly: Option<Span>,

    /// Keep one for each year within this span before the newest
    #[arg(long, value_name = "SPAN", help_heading = POLICY)]
    pub keep_within_yearly: Option<Span>,

    /// Keep those with all of these comma-separated tags; may be given more than once for other
    /// sets of tags
    #[arg(long, value_name = "TAG,...", value_parser = tag::parse, help_heading = POLICY)]
    pub keep_tag: Vec<TagSet>,
}

impl PolicyArgs {
    /// The policy that the flags make.
    pub fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last.unwrap_or_default(),
            hourly: self.keep_hourly.unwrap_or_default(),
            daily: self.keep_daily.unwrap_or_default(),
            weekly: self.keep_weekly.unwrap_or_default(),
            monthly: self.keep_monthly.unwrap_or_default(),
            yearly: self.keep_yearly.unwrap_or_default(),
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            tags: self.keep_tag.iter().map(|set| set.0.clone()).collect(),
        }
    }
}

/// Some snapshots, by name or by filter.
#[derive(Debug, Args)]
pub struct ChosenArgs {
    /// The snapshots: id, latest, latest~N or @TIME; without any, all that the filters let through
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    #[arg(required_unless_present_any = ["host", "tag", "snapshot_path"])]
    pub snapshots: Vec<SnapshotChoice>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Flags of `tag`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom tag -r /srv/backup --add release,v2 latest
  strongroom tag -r /srv/backup --remove nightly --host web1
  strongroom tag -r /srv/backup --set '' 3f2a")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct TagArgs {
    /// Give the snapshots these tags and no others; '' takes all away
    #[arg(long, value_name = "TAG,...", value_parser = tag::parse_or_none, group = "change")]
    #[arg(conflicts_with_all = ["add", "remove"])]
    pub set: Option<TagSet>,

    /// Give them these tags, too; may be given more than once
    #[arg(long, value_name = "TAG,...", value_parser = tag::parse, group = "change")]
    pub add: Vec<TagSet>,

    /// Take these tags away; may be given more than once
    #[arg(long, value_name = "TAG,...", value_parser = tag::parse, group = "change")]
    pub remove: Vec<TagSet>,

    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// Flags of `hold`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom hold -r /srv/backup 3f2a
  strongroom hold -r /srv/backup --tag release,v2

Held snapshots are never forgotten, by no policy and no name, until they are released.")]
pub struct HoldArgs {
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// Flags of `release`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom release -r /srv/backup 3f2a
  strongroom release -r /srv/backup --host web1 --json")]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb};

    fn forget(flags: &str) -> super::ForgetArgs {
        let words = ["strongroom", "forget"].into_iter().chain(flags.split(' '));
        match Cli::try_parse_from(words).unwrap().verb {
            Verb::Forget(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_make_a_policy() {
        use strongroom_core::retention::Count;
        let args =
            forget("--keep-last 3 --keep-yearly unlimited --keep-within 1y2m --keep-tag a,b");
        let policy = args.policy.policy();
        assert_eq!(policy.last, Count::AtMost(3));
        assert_eq!(policy.yearly, Count::Unlimited);
        assert_eq!(policy.daily, Count::AtMost(0));
        assert_eq!(policy.within.unwrap().to_string(), "1y2m");
        assert_eq!(policy.tags, [["a", "b"]]);
        assert!(forget("3f2a").policy.policy().is_empty());
    }

    #[test]
    fn groups_are_by_host_and_paths_unless_told_otherwise() {
        assert_eq!(forget("--keep-last 1").group_by, Default::default());
        assert!(forget("--keep-last 1 -g tags").group_by.tags);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for flags in ["--keep-last 1 3f2a", "--undo", "--undo 3f2a --dry-run", "--keep-last -1"] {
            let words = ["strongroom", "forget"].into_iter().chain(flags.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{flags}");
        }
        assert!(Cli::try_parse_from(["strongroom", "forget"]).is_err());
    }
}
