//! The flags that every verb takes: where the repository is, what opens it, how to talk.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum};

use super::values::seconds;

const REPOSITORY: &str = "Repository";
const OUTPUT: &str = "Output";

/// What holds for every verb.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Where the repository is: a folder or a target URL; `backup` takes several
    #[arg(short, long, value_name = "URL", env = "STRONGROOM_REPOSITORY")]
    #[arg(global = true, hide_env_values = true, help_heading = REPOSITORY)]
    pub repo: Vec<OsString>,

    /// What opens the repository.
    #[command(flatten)]
    pub credential: CredentialArgs,

    /// Let the kernel's keyring remember for a while what the password was made into, so that it
    /// is neither asked for nor hashed again
    #[arg(long, value_name = "WHETHER", env = "STRONGROOM_AGENT", default_value = "off")]
    #[arg(global = true, hide_env_values = true, help_heading = REPOSITORY)]
    pub agent: AgentMode,

    /// How long it is remembered after it was hashed, used or not
    #[arg(long, value_name = "TIME", env = "STRONGROOM_AGENT_TIMEOUT", default_value = "15m")]
    #[arg(global = true, hide_env_values = true, help_heading = REPOSITORY)]
    #[arg(value_parser = seconds::parse)]
    pub agent_timeout: Duration,

    /// Where this client keeps its identity, and what it saw last
    /// [default: $XDG_STATE_HOME/strongroom]
    #[arg(long, value_name = "DIR", env = "STRONGROOM_STATE_DIR")]
    #[arg(global = true, hide_env_values = true, help_heading = REPOSITORY)]
    pub state_dir: Option<PathBuf>,

    /// Go on though the repository is not what this machine saw last, and remember it as it is now
    #[arg(long, global = true, help_heading = REPOSITORY)]
    pub accept_rollback: bool,

    /// Fail unless the repository has this commit: the head that a backup printed, or the first
    /// digits of it; for machines that have not seen the repository yet
    #[arg(long, value_name = "HASH", global = true, help_heading = REPOSITORY)]
    pub expect_head: Option<String>,

    /// Where copies of the small objects of repositories elsewhere are kept, so that they are not
    /// fetched again [default: $XDG_CACHE_HOME/strongroom]
    #[arg(long, value_name = "DIR", env = "STRONGROOM_CACHE_DIR")]
    #[arg(global = true, hide_env_values = true, help_heading = REPOSITORY)]
    #[arg(conflicts_with = "no_cache")]
    pub cache_dir: Option<PathBuf>,

    /// Keep no copies and use none
    #[arg(long, global = true, help_heading = REPOSITORY)]
    pub no_cache: bool,

    /// Print results and errors as JSON
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,

    /// How to show progress on standard error [default: a bar on a terminal, else none]
    #[arg(long, value_name = "HOW", global = true, help_heading = OUTPUT)]
    pub progress: Option<ProgressMode>,

    /// Print only what was asked for, and errors: no summaries and no progress
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,

    /// Say more; twice for what the engine does step by step
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    #[arg(conflicts_with = "quiet")]
    pub verbose: u8,
}

/// What opens the repository. Without any of these, STRONGROOM_PASSWORD is used, or the password
/// is asked for on the terminal.
#[derive(Debug, Clone, Default, Args)]
pub struct CredentialArgs {
    /// Read the password from this file; one newline at its end does not belong to it. With
    /// several repositories: one file for all of them, or one for each, in the same order
    /// [env: STRONGROOM_PASSWORD_FILE]
    #[arg(short, long, value_name = "FILE", global = true, help_heading = REPOSITORY)]
    #[arg(conflicts_with_all = ["password_command", "recovery_key_file", "key_file"])]
    pub password_file: Vec<PathBuf>,

    /// Run this command, without a shell, and read the password from its output
    /// [env: STRONGROOM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", global = true, help_heading = REPOSITORY)]
    #[arg(conflicts_with_all = ["recovery_key_file", "key_file"])]
    pub password_command: Option<String>,

    /// Open the repository with the key file there instead of a password: at least 32 random
    /// bytes, readable by nobody else [env: STRONGROOM_KEY_FILE]
    #[arg(long, value_name = "FILE", global = true, help_heading = REPOSITORY)]
    #[arg(conflicts_with = "recovery_key_file")]
    pub key_file: Option<PathBuf>,

    /// Open the repository with the recovery key in this file instead of a password
    #[arg(long, value_name = "FILE", global = true, help_heading = REPOSITORY)]
    pub recovery_key_file: Option<PathBuf>,
}

/// Whether the agent is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentMode {
    /// Remember for a while
    On,
    /// Hash the password anew each time
    Off,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// One JSON object a second
    Json,
    /// One line every ten seconds
    Plain,
    /// Not at all
    None,
}
