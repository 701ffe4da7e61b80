//! From flags to an open repository: URL, layers around the target, credential.
//!
//! The only place that knows which layers stand around a target. Reads nothing by itself.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use strongroom_backends::{OpenMode, OpenOptions, TargetUrl};
use strongroom_core::{
    entry::display_name,
    error::Error,
    format::slot::RecoveryKey,
    repository::{Credential, InitOptions, Repository, Storage},
    runtime::Runtime,
    target::{
        KeyPrefix, SharedTarget, TargetErrorKind,
        layers::{ConcurrencyLimitLayer, MetricsLayer, RetryConfig, RetryLayer, TargetMetrics},
        probe::{ProbeOptions, probe},
    },
};

use crate::{
    args::GlobalArgs,
    cache, env,
    error::{Doing, Failure, Result},
    exit::Exit,
    interrupt::Interrupt,
    output::Console,
    password::{self, Purpose},
};

/// Where the repository is and what opens it: all that is asked of the user, before any work.
pub struct Access {
    url: OsString,
    parsed: TargetUrl,
    credential: Credential,
    /// Where copies are kept, unless nobody wants any.
    cache_dir: Option<PathBuf>,
}

impl Access {
    /// As the flags, the environment and, last of all, the user at the terminal say.
    pub fn new(args: &GlobalArgs, purpose: Purpose) -> Result<Self> {
        let (url, parsed) = place(args)?;
        let credential = password::credential(&args.credential, &env::variable, purpose)?;
        let cache_dir = match args.no_cache {
            true => None,
            false => args.cache_dir.clone().or_else(|| env::cache_dir(&env::variable)),
        };
        Ok(Self { url, parsed, credential, cache_dir })
    }

    /// Where the repository is, if it is a folder of this machine.
    pub fn local_folder(&self) -> Option<&Path> {
        match &self.parsed {
            TargetUrl::Local(path) => Some(path),
            _ => None,
        }
    }

    fn password(&self) -> Result<&password::Password> {
        match &self.credential {
            Credential::Password(password) => Ok(password),
            Credential::RecoveryKey(_) => {
                Err(Failure::usage("a new repository needs a password, not a recovery key"))
            }
        }
    }
}

/// Where the repository is, as the flags and the environment say.
pub fn place(args: &GlobalArgs) -> Result<(OsString, TargetUrl)> {
    let Some(url) = args.repo.clone().filter(|url| !url.is_empty()) else {
        return Err(Failure::usage("no repository was named")
            .hint("use -r/--repo or set STRONGROOM_REPOSITORY"));
    };
    let parsed = TargetUrl::parse(&url)
        .map_err(|error| Failure::from(Error::from(error)).with_exit(Exit::Usage))?;
    Ok((url, parsed))
}

/// What every verb that needs a repository works with.
pub struct Context {
    /// How to talk.
    pub console: Console,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Clock and randomness for the engine.
    pub runtime: Runtime,
    /// Where the repository is.
    pub access: Access,
}

/// An open repository, and the count of what it asked of its target.
pub struct Opened {
    /// The repository.
    pub repository: Repository,
    metrics: Arc<MetricsLayer>,
}

impl Opened {
    /// What was asked of the target so far.
    pub fn requests(&self) -> TargetMetrics {
        self.metrics.snapshot()
    }
}

impl Context {
    /// Opens the repository.
    pub async fn open(&self) -> Result<Opened> {
        self.interrupt.or(self.open_existing()).await
    }

    /// Makes a repository.
    pub async fn init(&self, options: &InitOptions) -> Result<(Opened, RecoveryKey)> {
        self.interrupt.or(self.init_new(options)).await
    }

    /// Opens the repository; makes it if there is none.
    pub async fn open_or_init(
        &self,
        options: &InitOptions,
    ) -> Result<(Opened, Option<RecoveryKey>)> {
        match self.open().await {
            Err(failure) if failure.exit() == Exit::NoRepository => {
                let (opened, key) = self.init(options).await?;
                Ok((opened, Some(key)))
            }
            other => Ok((other?, None)),
        }
    }

    async fn open_existing(&self) -> Result<Opened> {
        let doing = || "cannot open the repository".to_owned();
        let target = self.target(OpenMode::Existing).await.doing(doing)?;
        let metrics = layers(target, &self.runtime).await.doing(doing)?;
        let credential = &self.access.credential;
        let storage = self.storage(&metrics).await;
        let repository =
            Repository::open(storage, self.runtime.clone(), credential).await.doing(doing)?;
        Ok(Opened { repository, metrics })
    }

    async fn init_new(&self, options: &InitOptions) -> Result<(Opened, RecoveryKey)> {
        let doing = || "cannot make a repository".to_owned();
        let password = self.access.password()?;
        let target = self.target(OpenMode::Create).await.doing(doing)?;
        let metrics = layers(target, &self.runtime).await.doing(doing)?;
        let trusts_create = self.probe(&metrics).await.doing(doing)?;
        let options = &InitOptions { trusts_create, ..options.clone() };
        let storage = self.storage(&metrics).await;
        let runtime = self.runtime.clone();
        let (repository, key) =
            Repository::init(storage, runtime, password, options).await.doing(doing)?;
        Ok((Opened { repository, metrics }, key))
    }

    async fn target(&self, mode: OpenMode) -> Result<SharedTarget> {
        strongroom_backends::open(&self.access.url, &OpenOptions { mode }).await.map_err(|error| {
            match error.kind() {
                TargetErrorKind::NotFound => {
                    let place = display_name(self.access.url.as_bytes());
                    let why = format!("{place}: there is no repository here");
                    Failure::new(Exit::NoRepository, why).hint("`strongroom init` makes one")
                }
                // The URL was found to be right; what it leads to is not a target.
                TargetErrorKind::Invalid => {
                    Failure::from(Error::from(error)).with_exit(Exit::Storage)
                }
                _ => Failure::from(Error::from(error)),
            }
        })
    }

    /// Whether the storage decides who was first; warns if not. A folder of this machine does.
    async fn probe(&self, target: &Arc<MetricsLayer>) -> Result<bool> {
        if self.access.local_folder().is_some() {
            return Ok(true);
        }
        let shared: SharedTarget = target.clone();
        let options = ProbeOptions::cheap();
        let found = probe(&shared, &self.runtime, &KeyPrefix::all(), &options).await;
        let found = found.map_err(Error::from)?;
        if !found.is_safe() {
            let why = match found.lists_at_once {
                true => found.create.to_string(),
                false => "a listing does not show at once what was written".to_owned(),
            };
            self.console.warn(&format!("this storage is not safe for prune: {why}"));
        }
        Ok(found.is_safe())
    }

    /// The target with its cache; a folder of this machine needs none.
    async fn storage(&self, target: &Arc<MetricsLayer>) -> Storage {
        let cache = match (&self.access.cache_dir, self.access.local_folder()) {
            (Some(dir), None) => cache::open(dir, &target.to_string(), self.console).await,
            _ => None,
        };
        Storage { target: target.clone(), cache }
    }
}

/// The layers that every target gets. Metrics outermost, so that a retried call counts once; the
/// limit inside of the retry, so that nobody waits for the storage while holding a place.
pub async fn layers(target: SharedTarget, runtime: &Runtime) -> Result<Arc<MetricsLayer>> {
    let capabilities = target.capabilities().await.map_err(Error::from)?;
    let limited = Arc::new(ConcurrencyLimitLayer::new(target, capabilities.concurrency.max(1)));
    let retried = RetryLayer::new(limited, RetryConfig::default(), runtime.clone());
    Ok(Arc::new(MetricsLayer::new(Arc::new(retried))))
}
