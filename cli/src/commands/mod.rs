//! The verbs: each file does one. They check what can be checked, then ask for the password,
//! then work.

mod backup;
mod completions;
mod copy;
mod diff;
mod dump;
mod find;
mod forget;
mod forget_report;
mod init;
mod key;
mod label;
mod lanes;
mod ls;
mod prune;
mod repair;
mod requests;
mod restore;
mod select;
mod snapshots;
mod stats;
mod target;
mod verify;
mod version;

use strongroom_core::runtime::Runtime;

use crate::{
    access::{Access, Context},
    args::{Cli, GlobalArgs, HoldArgs, ReleaseArgs, Verb},
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
        Verb::Forget(args) => {
            with_repository(global, console, opening, async |c| forget::run(&args, c).await)
        }
        Verb::Prune(args) => {
            with_repository(global, console, opening, async |c| prune::run(&args, c).await)
        }
        Verb::Tag(args) => {
            with_repository(global, console, opening, async |c| label::tag(&args, c).await)
        }
        Verb::Hold(HoldArgs { chosen }) => {
            with_repository(global, console, opening, async |c| label::hold(&chosen, true, c).await)
        }
        Verb::Release(ReleaseArgs { chosen }) => {
            with_repository(global, console, opening, async |c| {
                label::hold(&chosen, false, c).await
            })
        }
        Verb::Copy(args) => copy::run(&args, global, console),
        Verb::Key(verb) => key::run(verb, global, console),
        Verb::Stats(args) => {
            with_repository(global, console, opening, async |c| stats::run(&args, c).await)
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
    with_access(Access::new(global, purpose)?, console, work)
}

/// As [`with_all`], with one context.
fn with_access(
    access: Access,
    console: Console,
    work: impl AsyncFnOnce(&Context) -> Result<Exit>,
) -> Result<Exit> {
    with_all(vec![access], console, async |contexts| match contexts {
        [context] => work(context).await,
        _ => Err(Failure::usage("no repository was named")),
    })
}

/// Runs `work` with one context for each of `accesses` and watches for signals meanwhile. Nothing
/// is asked of the user before.
fn with_all(
    accesses: Vec<Access>,
    console: Console,
    work: impl AsyncFnOnce(&[Context]) -> Result<Exit>,
) -> Result<Exit> {
    // SAFETY: nothing has started a thread so far, so nobody else reads the environment.
    unsafe { env::forget_password() };
    block_on(async {
        let interrupt = Interrupt::watch(console)?;
        let runtime = Runtime::system();
        let contexts: Vec<Context> = accesses
            .into_iter()
            .map(|access| {
                let (interrupt, runtime) = (interrupt.clone(), runtime.clone());
                Context { console, interrupt, runtime, access }
            })
            .collect();
        work(&contexts).await
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
