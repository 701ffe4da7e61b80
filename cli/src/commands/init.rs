//! `init`: a new repository and its recovery key.

use serde::Serialize;
use strongroom_core::{format::slot::RecoveryKey, repository::Repository};

use super::with_repository;
use crate::{
    args::{GlobalArgs, InitArgs},
    error::Result,
    exit::Exit,
    output::{Console, Out},
    password::Purpose,
};

/// Makes the repository.
pub fn run(args: &InitArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let options = args.options()?;
    with_repository(global, console, Purpose::Create, async |context| {
        let (opened, key) = context.init(&options).await?;
        show(&opened.repository, &key, console)?;
        Ok(Exit::Done)
    })
}

/// Says what was made, and shows the recovery key.
pub fn show(repository: &Repository, key: &RecoveryKey, console: Console) -> Result<()> {
    let mut out = console.out();
    if console.is_json() {
        out.object(&Initialized {
            message_type: "initialized",
            id: repository.id().to_string(),
            repository: repository.target().to_string(),
            recovery_key: &key.to_text(),
        })?;
    } else {
        explain(&mut out, repository, key)?;
    }
    out.finish()
}

#[derive(Serialize)]
struct Initialized<'a> {
    message_type: &'static str,
    id: String,
    repository: String,
    recovery_key: &'a str,
}

fn explain(out: &mut Out, repository: &Repository, key: &RecoveryKey) -> Result<()> {
    out.line(&format!("created repository {} at {}", repository.id(), repository.target()))?;
    out.line("")?;
    out.line("recovery key:")?;
    out.line("")?;
    out.part("    ")?;
    out.line(&key.to_text())?;
    out.line("")?;
    out.line("It opens the repository if the password is lost, and is shown only this once.")?;
    out.line("Keep it where it survives this machine, and where nobody else finds it.")?;
    out.line("Without password and recovery key, nobody can read what is backed up here.")
}
