//! `completions`: a script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    args::Cli,
    error::{Failure, Result},
    exit::Exit,
    output::Console,
};

/// Prints the script.
pub fn run(shell: Shell, console: Console) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
    let mut out = console.out();
    std::io::Write::write_all(&mut out, &script).map_err(|error| Failure::output(&error))?;
    out.finish()?;
    Ok(Exit::Done)
}
