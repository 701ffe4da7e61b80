//! Which snapshots the user means.

use strongroom_core::{
    error::ErrorKind,
    monitor::Problem,
    repository::{Repository, Selector, Snapshot, SnapshotList},
};

use crate::{
    args::{FilterArgs, SnapshotChoice},
    error::{Failure, Result},
    exit::Exit,
    output::Console,
};

/// The snapshots of a repository, and what was wrong with those that could not be read.
pub struct Listed {
    all: Vec<Snapshot>,
    /// Those that the filter lets through, oldest first.
    pub filtered: Vec<Snapshot>,
    /// What could not be read.
    pub damaged: Vec<Problem>,
}

/// Lists the snapshots; unreadable ones are named at once.
pub async fn list(
    repository: &Repository,
    filter: &FilterArgs,
    console: Console,
) -> Result<Listed> {
    Ok(filtered(repository.snapshots().await?, filter, console))
}

/// As [`list`], of what was listed already.
pub fn filtered(list: SnapshotList, filter: &FilterArgs, console: Console) -> Listed {
    for problem in &list.damaged {
        console.item_error("list", &problem.item, &problem.message);
    }
    let filtered =
        list.snapshots.iter().filter(|snapshot| passes(filter, snapshot)).cloned().collect();
    Listed { all: list.snapshots, filtered, damaged: list.damaged }
}

impl Listed {
    /// The snapshot that `choice` names. Ids name any snapshot; `latest` and times choose among
    /// those that the filter lets through.
    pub fn choose(&self, choice: &SnapshotChoice) -> Result<&Snapshot> {
        let candidates = match choice.selector {
            Selector::IdPrefix(_) => &self.all,
            _ => &self.filtered,
        };
        choice.selector.select(candidates).map_err(|error| {
            let is_missing = error.kind() == ErrorKind::NotFound;
            let failure = match error.object() {
                Some(_) => Failure::from(error),
                None => Failure::from(error.on(&choice.text)),
            };
            if is_missing && !self.damaged.is_empty() {
                let count = self.damaged.len();
                return failure.with_exit(Exit::Damaged).hint(format!(
                    "{count} damaged snapshots could not be read; `strongroom verify` says more"
                ));
            }
            failure
        })
    }

    /// The snapshots that `choices` name, or all that the filter lets through.
    pub fn choose_all(&self, choices: &[SnapshotChoice]) -> Result<Vec<&Snapshot>> {
        if choices.is_empty() {
            return Ok(self.filtered.iter().collect());
        }
        choices.iter().map(|choice| self.choose(choice)).collect()
    }
}

fn passes(filter: &FilterArgs, snapshot: &Snapshot) -> bool {
    let has_tags = |set: &[String]| set.iter().all(|tag| snapshot.tags.contains(tag));
    (filter.host.is_empty() || filter.host.contains(&snapshot.host))
        && (filter.tag.is_empty() || filter.tag.iter().any(|set| has_tags(&set.0)))
        && filter.path.iter().all(|path| has_path(snapshot, path))
}

/// Snapshots know absolute paths; people may name them from where they stand.
fn has_path(snapshot: &Snapshot, path: &str) -> bool {
    let absolute = std::path::absolute(path).ok();
    let absolute = absolute.as_deref().and_then(std::path::Path::to_str);
    snapshot.paths.iter().any(|stored| stored == path || Some(stored.as_str()) == absolute)
}

/// The first digits of a snapshot's id, enough for people.
pub fn short_id(id: &impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::args::TagSet;
    use strongroom_core::{
        format::page::TableRoot,
        id::{ClientId, SessionId},
        repository::SnapshotKind,
        runtime::Timestamp,
    };

    pub fn snapshot(number: u8, host: &str, paths: &[&str], tags: &[&str]) -> Snapshot {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Snapshot {
            id: SessionId([number; 16]),
            time: Timestamp(i64::from(number) * 1_000_000_000),
            started: Timestamp(0),
            committed: Timestamp(0),
            host: host.to_owned(),
            user: "ann".to_owned(),
            paths: owned(paths),
            tags: owned(tags),
            parent: None,
            kind: SnapshotKind::Full,
            client: ClientId([1; 16]),
            sequence: u64::from(number),
            unreadable: 0,
            added_bytes: 10,
            hash: [0; 32],
            is_held: false,
            original: None,
            generation: 0,
            root: TableRoot { level: 0, chunk: None, counts: Default::default() },
        }
    }

    fn listed(filter: &FilterArgs) -> Listed {
        let all = vec![
            snapshot(0x11, "a", &["/etc"], &["x", "y"]),
            snapshot(0x22, "b", &["/etc", "/srv"], &["x"]),
            snapshot(0x33, "a", &["/srv"], &[]),
        ];
        let filtered = all.iter().filter(|one| passes(filter, one)).cloned().collect();
        Listed { all, filtered, damaged: Vec::new() }
    }

    fn choice(text: &str, selector: Selector) -> SnapshotChoice {
        SnapshotChoice { text: text.to_owned(), selector }
    }

    #[test]
    fn filters_combine() {
        let tags = |sets: &[&[&str]]| {
            let set = |tags: &&[&str]| TagSet(tags.iter().map(|tag| (*tag).to_owned()).collect());
            sets.iter().map(set).collect::<Vec<_>>()
        };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let cases = [
            (FilterArgs::default(), 3),
            (FilterArgs { host: owned(&["a"]), ..Default::default() }, 2),
            (FilterArgs { host: owned(&["a", "b"]), ..Default::default() }, 3),
            (FilterArgs { tag: tags(&[&["x", "y"]]), ..Default::default() }, 1),
            (FilterArgs { tag: tags(&[&["y"], &["x"]]), ..Default::default() }, 2),
            (FilterArgs { path: owned(&["/etc", "/srv"]), ..Default::default() }, 1),
            (FilterArgs { path: owned(&["/none"]), ..Default::default() }, 0),
        ];
        for (filter, count) in cases {
            assert_eq!(listed(&filter).filtered.len(), count, "{filter:?}");
        }
    }

    #[test]
    fn latest_obeys_the_filter_and_ids_do_not() {
        let filter = FilterArgs { host: vec!["b".to_owned()], ..Default::default() };
        let listed = listed(&filter);
        let latest = listed.choose(&choice("latest", Selector::Latest(0))).unwrap();
        assert_eq!(latest.id, SessionId([0x22; 16]));
        let by_id = choice("3333", Selector::IdPrefix("3333".to_owned()));
        assert_eq!(listed.choose(&by_id).unwrap().id, SessionId([0x33; 16]));
    }

    #[test]
    fn what_is_not_there_is_named_as_it_was_typed() {
        let mut listed = listed(&FilterArgs::default());
        let missing = choice("latest~9", Selector::Latest(9));
        let failure = listed.choose(&missing).unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.to_string().contains("latest~9"), "{failure}");
        let (item, message) = ("meta/x".to_owned(), "damaged".to_owned());
        listed.damaged.push(Problem { item, message, is_error: true });
        assert_eq!(listed.choose(&missing).unwrap_err().exit(), Exit::Damaged);
    }
}
