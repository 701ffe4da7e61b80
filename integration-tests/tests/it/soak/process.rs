//! Processes of the binary that are killed and frozen while they work.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::chance::Chance;
use crate::support::{Lab, Outcome};

/// The longest time for which one is frozen: longer than prunes wait for a sign of life.
const FROZEN_MAX: Duration = Duration::from_secs(8);
/// A process that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(240);

/// A run that another one is in the way of: nothing is wrong, and running it again helps.
const BUSY: i32 = 11;
/// The storage does not answer: a frozen process may find its connections cut.
const STORAGE: i32 = 14;

/// The repository, and what the processes need to reach it.
pub struct Surroundings<'a> {
    pub lab: &'a Lab,
    url: String,
    variables: Vec<(OsString, OsString)>,
}

/// Who runs the binary, and how long after its start it may be harmed.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub name: &'a str,
    pub harm_within: Duration,
}

/// What happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub backups: u64,
    pub forgets: u64,
    pub prunes: u64,
    /// Processes that were killed at work, and that were frozen and went on.
    pub killed: u64,
    pub stopped: u64,
    /// Runs that another one was in the way of.
    pub busy: u64,
    /// Frozen runs that lost their storage.
    pub cut_off: u64,
    /// What should not have happened.
    pub surprises: Vec<String>,
}

impl Tally {
    /// Both together.
    pub fn plus(mut self, other: Self) -> Self {
        self.backups += other.backups;
        self.forgets += other.forgets;
        self.prunes += other.prunes;
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.busy += other.busy;
        self.cut_off += other.cut_off;
        self.surprises.extend(other.surprises);
        self
    }
}

impl<'a> Surroundings<'a> {
    /// The repository at `url`, to be reached with `variables`.
    pub fn new(lab: &'a Lab, url: String, variables: Vec<(OsString, OsString)>) -> Self {
        Self { lab, url, variables }
    }

    /// A folder of a client's own.
    pub fn folder(&self, client: &str) -> PathBuf {
        self.lab.path(client)
    }

    /// The binary as `client` runs it, with a cache and a state of its own.
    pub fn command(&self, client: &str, args: &[&str]) -> Command {
        let mut command = self.lab.command();
        let home = self.folder(client);
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("STRONGROOM_REPOSITORY", &self.url)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .args(args);
        command
    }

    /// Runs the binary in peace.
    pub fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(&mut self.command("keeper", args))
    }

    /// Runs the binary, and sometimes kills or freezes it; `None` if it did not end well. Whoever
    /// is left in peace must end well, or say that somebody else was in the way.
    pub fn run_in_danger(
        &self,
        client: Client<'_>,
        args: &[&str],
        chance: &mut Chance,
        tally: &mut Tally,
    ) -> Option<Outcome> {
        let mut command = self.command(client.name, args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let harm = Plan::draw(chance, client.harm_within).carry_out(&mut child);
        let outcome = Outcome::of_child(child, &command);
        tally.killed += u64::from(harm == Harm::Killed);
        tally.stopped += u64::from(harm == Harm::Frozen);
        match (outcome.code, harm) {
            (0, _) => return Some(outcome),
            (-1, Harm::Killed) => {}
            (BUSY, _) => tally.busy += 1,
            (STORAGE, Harm::Frozen) => tally.cut_off += 1,
            _ => tally.surprises.push(format!("{harm:?}: {outcome}")),
        }
        None
    }
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Nothing, or it was faster.
    None,
    Killed,
    Frozen,
    /// It did not end.
    Hung,
}

/// What to do to a process, and when.
enum Plan {
    Leave,
    Kill { after: Duration },
    Freeze { after: Duration, lasting: Duration, then_kill: bool },
}

impl Plan {
    fn draw(chance: &mut Chance, within: Duration) -> Self {
        let after = chance.wait(within);
        match chance.below(10) {
            0..5 => Self::Leave,
            5..8 => Self::Kill { after },
            _ => {
                let (lasting, then_kill) = (chance.wait(FROZEN_MAX), chance.happens(25));
                Self::Freeze { after, lasting, then_kill }
            }
        }
    }

    /// Does it, and waits for the end. Signals go only to a child that was not waited for yet.
    fn carry_out(self, child: &mut Child) -> Harm {
        let harm = match self {
            Self::Leave => Harm::None,
            Self::Kill { after } if !ends_within(child, after) => {
                child.kill().unwrap();
                Harm::Killed
            }
            Self::Freeze { after, lasting, then_kill } if !ends_within(child, after) => {
                let pid = Pid::from_child(child);
                kill_process(pid, Signal::STOP).unwrap();
                thread::sleep(lasting);
                if then_kill {
                    child.kill().unwrap();
                }
                kill_process(pid, Signal::CONT).unwrap();
                if then_kill { Harm::Killed } else { Harm::Frozen }
            }
            _ => Harm::None,
        };
        if ends_within(child, HANGS_AFTER) {
            return harm;
        }
        child.kill().unwrap();
        Harm::Hung
    }
}

/// True if the process ends before so much time is over.
fn ends_within(child: &mut Child, duration: Duration) -> bool {
    let end = Instant::now() + duration;
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(3));
    }
}
