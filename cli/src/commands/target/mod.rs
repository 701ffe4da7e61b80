//! `target`: a storage without a repository: checking it, and single encrypted objects.

mod check;
mod objects;

use std::{ffi::OsStr, future::Future, sync::Arc};

use strongroom_backends::{OpenMode, OpenOptions, TargetUrl};
use strongroom_core::{
    error::Error,
    runtime::Runtime,
    target::{ObjectKey, SharedTarget, layers::MetricsLayer},
};

use super::block_on;
use crate::{
    access::layers,
    args::{GlobalArgs, TargetVerb},
    env,
    error::{Doing, Failure, Result},
    exit::Exit,
    interrupt::Interrupt,
    output::Console,
    password::{self, Password, Purpose},
};

/// Does what the verb below `target` says.
pub fn run(verb: TargetVerb, global: &GlobalArgs, console: Console) -> Result<Exit> {
    match verb {
        TargetVerb::Check(args) => {
            let url = parse(&args.url)?;
            within(console, async |place| check::run(&args, &url, place).await)
        }
        TargetVerb::Put(args) => {
            let object = Object::parse(&args.url)?;
            let password = password_for(global, Purpose::Create)?;
            let put =
                async |place: &Place| objects::put(&object, args.replace, &password, place).await;
            within(console, put)
        }
        TargetVerb::Get(args) => {
            let object = Object::parse(&args.url)?;
            let password = password_for(global, Purpose::Open)?;
            within(console, async |place| objects::get(&object, &password, place).await)
        }
        TargetVerb::Ls(args) => {
            let url = parse(&args.url)?;
            within(console, async |place| objects::ls(&url, place).await)
        }
        TargetVerb::Rm(args) => {
            let objects = args.urls.iter().map(|url| Object::parse(url));
            let objects = objects.collect::<Result<Vec<_>>>()?;
            within(console, async |place| objects::rm(&objects, place).await)
        }
    }
}

/// What a verb works with.
pub struct Place {
    /// How to talk.
    pub console: Console,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Clock and randomness.
    pub runtime: Runtime,
}

impl Place {
    /// Opens a target, with the layers that every target gets.
    pub async fn open(&self, url: &TargetUrl, mode: OpenMode) -> Result<Arc<MetricsLayer>> {
        let opening = async {
            let target = self.open_bare(url, mode).await?;
            layers(target, &self.runtime).await.doing(|| "cannot use the target".to_owned())
        };
        self.interrupt.or(opening).await
    }

    /// Opens a target as it is: what a check must see.
    async fn open_bare(&self, url: &TargetUrl, mode: OpenMode) -> Result<SharedTarget> {
        let options = OpenOptions { mode };
        let opening = strongroom_backends::open_parsed(url, &options);
        opening.await.map_err(Error::from).doing(|| "cannot open the target".to_owned())
    }
}

/// A single object of a target.
struct Object {
    target: TargetUrl,
    key: ObjectKey,
}

impl Object {
    fn parse(url: &OsStr) -> Result<Self> {
        let usage = |error| Failure::from(Error::from(error)).with_exit(Exit::Usage);
        let (target, name) = parse(url)?.split_name().map_err(usage)?;
        let key = ObjectKey::parse(&name).map_err(|error| {
            Failure::usage(error.to_string())
                .hint("names have lower-case letters, digits, dots, dashes and underscores")
        })?;
        Ok(Self { target, key })
    }
}

fn parse(url: &OsStr) -> Result<TargetUrl> {
    TargetUrl::parse(url).map_err(|error| Failure::from(Error::from(error)).with_exit(Exit::Usage))
}

fn password_for(global: &GlobalArgs, purpose: Purpose) -> Result<Password> {
    match password::credential(&global.credential, &env::variable, purpose)? {
        strongroom_core::repository::Credential::Password(password) => Ok(password),
        _ => Err(Failure::usage("a single object is opened by a password, by nothing else")),
    }
}

/// Runs `work` and watches for signals meanwhile; asks for no password.
pub fn within(console: Console, work: impl AsyncFnOnce(&Place) -> Result<Exit>) -> Result<Exit> {
    // SAFETY: nothing has started a thread so far, so nobody else reads the environment.
    unsafe { env::forget_password() };
    block_on(async {
        let interrupt = Interrupt::watch(console)?;
        work(&Place { console, interrupt, runtime: Runtime::system() }).await
    })
}

/// Waits for `work`, or for the user to stop it.
pub async fn or_stop<T>(place: &Place, work: impl Future<Output = Result<T>>) -> Result<T> {
    place.interrupt.or(work).await
}
