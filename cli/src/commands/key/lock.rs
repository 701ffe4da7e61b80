//! `key lock`: what the agent holds is dropped. Opens no repository and asks for no password.

use serde_json::json;
use strongroom_core::repository::{AGENT_PREFIX, agent_prefix};

use crate::{
    access::Access,
    agent,
    args::{GlobalArgs, KeyLockArgs},
    commands::with_access,
    error::{Failure, Result},
    exit::Exit,
    output::{Console, human},
};

/// Drops the entries for the repository, or all of them.
pub fn run(args: &KeyLockArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    if args.all {
        return drop_all(AGENT_PREFIX, console);
    }
    with_access(Access::without_credential(global)?, console, async |context| {
        drop_all(&agent_prefix(context.repository_id().await?), console)
    })
}

fn drop_all(prefix: &str, console: Console) -> Result<Exit> {
    let dropped = agent::drop_all(prefix).map_err(|error| {
        Failure::new(Exit::Failed, error.to_string()).doing("cannot look after the kernel's keys")
    })?;
    if dropped.is_none() {
        console
            .warn("the kernel's keyring is not to be had here: nothing was remembered from here");
    }
    let dropped = dropped.unwrap_or_default();
    if console.is_json() {
        console.object(&json!({ "message_type": "locked", "entries": dropped }))?;
    } else {
        let entries = human::count(dropped as u64, "remembered key");
        console.summary(&[format!("dropped {entries}")])?;
    }
    Ok(Exit::Done)
}
