//! The command line of strongroom: parse, call the engine, print, exit code. It has no logic of
//! its own: what it can do, programs can do with the libraries.

mod access;
mod agent;
mod archive;
mod args;
mod cache;
mod commands;
mod env;
mod error;
mod exit;
mod interrupt;
mod key_file;
mod limits;
mod logging;
mod output;
mod panics;
mod password;
mod pins;
mod sinks;
mod sources;
mod state;
mod time;
mod words;

use std::process::ExitCode;

use args::Cli;
use error::Result;
use exit::Exit;
use output::Console;

fn main() -> ExitCode {
    limits::raise_open_files();
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refused) => return refused.show().into(),
    };
    let console = Console::new(&cli.global);
    panics::install(console);
    match run(cli, console) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            console.failure(&failure);
            failure.exit().into()
        }
    }
}

fn run(cli: Cli, console: Console) -> Result<Exit> {
    logging::start(cli.global.verbose)?;
    commands::run(cli, console)
}
