//! The agent: a password is hashed once, a wrong one is refused all the same, and where the kernel
//! has no keyrings everything works without.
//!
//! What was hashed and what the agent opened is told by the log, not by the clock.

use std::process::Command;

use super::{Keys, SECOND};
use crate::support::{
    Outcome,
    lab::{PASSWORD, binary},
};

const HASHED: &str = "the password is hashed for the key slot";
const OPENED: &str = "the agent opens the key slot";
const NO_KEYRING: &str = "the agent remembers nothing";

/// The calls of the kernel's keyrings.
const KEYRING_CALLS: &str = "add_key,keyctl,request_key";

impl Keys {
    /// Runs with the agent, and with this password, or none.
    fn with_agent(&self, password: Option<&str>, args: &[&str]) -> Outcome {
        let mut command = self.lab.command();
        command.env_remove("STRONGROOM_PASSWORD").env("STRONGROOM_LOG", "strongroom_core=debug");
        command.envs(password.map(|password| ("STRONGROOM_PASSWORD", password)));
        Outcome::of(command.args(["--agent", "on"]).args(args))
    }

    /// The same on a kernel that answers the calls of keyrings with this error.
    fn without_keyring(&self, error: &str, args: &[&str]) -> Outcome {
        let mut command = Command::new("strace");
        self.lab.isolate(&mut command);
        command
            .env("STRONGROOM_REPOSITORY", self.lab.repository())
            .env("STRONGROOM_PASSWORD", PASSWORD)
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={KEYRING_CALLS}")])
            .args(["-e", &format!("inject={KEYRING_CALLS}:error={error}")])
            .arg(binary())
            .args(args);
        Outcome::of(&mut command)
    }
}

/// True if this machine has keyrings; what the tests see else is that nothing breaks.
fn has_keyring(outcome: &Outcome) -> bool {
    !outcome.stderr.contains(NO_KEYRING)
}

#[test]
fn the_second_command_hashes_no_password_and_needs_none() {
    let keys = Keys::new();
    let first = keys.with_agent(Some(PASSWORD), &["snapshots"]).expect(0);
    assert!(first.stderr.contains(HASHED) && !first.stderr.contains(OPENED), "{first}");
    if !has_keyring(&first) {
        return;
    }
    for password in [Some(PASSWORD), None] {
        let second = keys.with_agent(password, &["backup", "source"]).expect(0);
        assert!(second.stderr.contains(OPENED) && !second.stderr.contains(HASHED), "{second}");
    }
    let wrong = keys.with_agent(Some(SECOND), &["snapshots"]).expect(12);
    assert!(!wrong.stderr.contains(OPENED), "{wrong}");

    // without the agent nothing is recalled
    keys.without_password(&["snapshots"]).expect_error(12, &["no password"]);
    let said = keys.run(&["key", "lock", "--json"]).expect(0).json();
    assert_eq!(said["entries"], 1, "{said}");
    keys.with_agent(None, &["snapshots"]).expect(12);
    let again = keys.with_agent(Some(PASSWORD), &["snapshots"]).expect(0);
    assert!(again.stderr.contains(HASHED), "{again}");
    assert_eq!(keys.run(&["key", "lock", "--json"]).expect(0).json()["entries"], 1);
    assert_eq!(keys.run(&["key", "lock", "--json"]).expect(0).json()["entries"], 0);
}

#[test]
fn what_the_agent_holds_of_a_slot_goes_with_the_slot() {
    let keys = Keys::new();
    let first = keys.with_agent(Some(PASSWORD), &["snapshots"]).expect(0);
    if !has_keyring(&first) {
        return;
    }
    let new = keys.secret("new", SECOND.as_bytes());
    keys.with_agent(None, &["key", "password", "--new-password-file", &new]).expect(0);
    keys.with_agent(None, &["snapshots"]).expect(12);
    assert_eq!(keys.run(&["key", "lock", "--json"]).expect(0).json()["entries"], 0);
}

#[test]
fn entries_time_out() {
    let keys = Keys::new();
    let args = ["snapshots", "--agent-timeout", "1s"];
    let first = keys.with_agent(Some(PASSWORD), &args).expect(0);
    if !has_keyring(&first) {
        return;
    }
    // it is there for a moment, and then it is not: how long that takes is the kernel's affair
    while keys.with_agent(None, &["snapshots"]).code == 0 {
        std::thread::yield_now();
    }
    keys.with_agent(None, &["snapshots"]).expect(12);
}

#[test]
fn without_keyrings_one_warning_says_so_and_everything_works() {
    let keys = Keys::new();
    for error in ["ENOSYS", "EPERM", "EACCES", "EDQUOT"] {
        for args in [&["snapshots"][..], &["backup", "source"], &["verify"]] {
            let args = [&["--agent", "on"], args].concat();
            let outcome = keys.without_keyring(error, &args).expect(0);
            let warnings = outcome.stderr.matches("warning: ").count();
            assert!(!has_keyring(&outcome) && warnings == 1, "{error}: {outcome}");
        }
        let quiet = keys.without_keyring(error, &["snapshots"]).expect(0);
        assert!(has_keyring(&quiet), "the agent was not asked for: {quiet}");
    }
    let locked = keys.without_keyring("ENOSYS", &["key", "lock"]).expect(0);
    assert_eq!(locked.stderr.matches("warning: ").count(), 1, "{locked}");
}
