//! The verbs: each file does one. They check what can be checked, then ask for the password,
//! then work.

mod backup;
mod completions;
mod diff;
mod dump;
mod find;
mod init;
mod ls;
mod repair;
mod requests;
mod restore;
mod select;
mod snapshots;
mod target;
mod verify;
mod version;

use strongroom_core::runtime::Runtime;

use crate::{
    access::{Access, Context},
    args::{Cli, GlobalArgs, Verb},
    env,
    error::{Failure, Result},
    exit::Exit,
    interrupt::Interrupt,
    output::Console,
    password::Purpose,
};

/// Does what the command line says.
pub fn run(cli: Cli, console: Console) -> Result<Exit> {
    let global = &cli.global;
    let opening = Purpose::Open;
    match cli.verb {
        Verb::Init(args) => init::run(&args, global, console),
        Verb::Backup(args) => backup::run(args, global, console),
        Verb::Snapshots(args) => {
            with_repository(global, console, opening, async |c| snapshots::run(&args, c).await)
        }
        Verb::Ls(args) => {
            with_repository(global, console, opening, async |c| ls::run(&args, c).await)
        }
        Verb::Find(args) => find::run(&args, global, console),
        Verb::Diff(args) => {
            with_repository(global, console, opening, async |c| diff::run(&args, c).await)
        }
        Verb::Restore(args) => restore::run(&args, global, console),
        Verb::Dump(args) => dump::run(&args, global, console),
        Verb::Verify(args) => {
            with_repository(global, console, opening, async |c| verify::run(&args, c).await)
        }
        Verb::Repair(verb) => repair::run(&verb, global, console),
        Verb::Target(verb) => target::run(verb, global, console),
        Verb::Completions { shell } => completions::run(shell, console),
        Verb::Version => version::run(console),
    }
}

/// Asks for what opens the repository, then runs `work` and watches for signals meanwhile.
fn with_repository(
    global: &GlobalArgs,
    console: Console,
    purpose: Purpose,
    work: impl AsyncFnOnce(&Context) -> Result<Exit>,
) -> Result<Exit> {
    let access = Access::new(global, purpose)?;
    // SAFETY: nothing has started a thread so far, so nobody else reads the environment.
    unsafe { env::forget_password() };
    block_on(async {
        let interrupt = Interrupt::watch(console)?;
        work(&Context { console, interrupt, runtime: Runtime::system(), access }).await
    })
}

/// Runs `work` to its end on threads of its own.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()).doing("cannot start"))?;
    let result = runtime.block_on(work);
    // What was asked of a storage that does not answer must not keep the program.
    runtime.shutdown_background();
    result
}
