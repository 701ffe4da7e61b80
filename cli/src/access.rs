//! From flags to an open repository: URL, layers around the target, credential.
//!
//! The only place that knows which layers stand around a target. Reads nothing by itself.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use strongroom_backends::{OpenMode, OpenOptions, TargetUrl};
use strongroom_core::{
    entry::display_name,
    error::{Error, ErrorKind},
    format::slot::RecoveryKey,
    id::{ClientId, RepositoryId},
    repository::{Credential, InitOptions, KeyAgent, Repository, Storage, Unlock},
    runtime::Runtime,
    target::{
        KeyPrefix, SharedTarget, TargetErrorKind,
        layers::{ConcurrencyLimitLayer, MetricsLayer, RetryConfig, RetryLayer, TargetMetrics},
        probe::{ProbeOptions, probe},
    },
};

use crate::{
    agent::KernelAgent,
    args::{AgentMode, FromArgs, GlobalArgs},
    cache, env,
    error::{Doing, Failure, Result},
    exit::Exit,
    interrupt::Interrupt,
    output::Console,
    password::{self, Purpose},
    pins::PinOptions,
    state,
};

/// Where the repository is and what opens it: all that is asked of the user, before any work.
pub struct Access {
    url: OsString,
    parsed: TargetUrl,
    /// Empty as long as the agent may spare the user the question.
    credential: OnceLock<Credential>,
    agent: Option<Arc<KernelAgent>>,
    /// Where copies are kept, unless nobody wants any.
    cache_dir: Option<PathBuf>,
    pins: PinOptions,
}

impl Access {
    /// As the flags, the environment and, last of all, the user at the terminal say. If an agent
    /// may hold what opens the repository, the user is not asked yet.
    pub fn new(args: &GlobalArgs, purpose: Purpose) -> Result<Self> {
        if args.repo.len() > 1 {
            return Err(Failure::usage(
                "several repositories were named; only `backup` takes them",
            ));
        }
        let mut all = Self::all(args, purpose)?;
        all.pop().ok_or_else(no_repository)
    }

    /// Of every repository that was named; there is at least one.
    pub fn all(args: &GlobalArgs, purpose: Purpose) -> Result<Vec<Self>> {
        let mut all = Self::places(args)?;
        let given = password::given_all(&args.credential, &env::variable, purpose, all.len())?;
        let agent = match args.agent {
            AgentMode::On => {
                Some(Arc::new(KernelAgent::new(args.agent_timeout, Console::new(args))))
            }
            AgentMode::Off => None,
        };
        let credentials = match given {
            Some(credentials) => Some(credentials),
            None if agent.is_some() && purpose == Purpose::Open && all.len() == 1 => None,
            None => Some(vec![password::ask_for(purpose)?; all.len()]),
        };
        for (at, access) in all.iter_mut().enumerate() {
            access.agent = agent.clone();
            if let Some(credentials) = &credentials {
                access.credential = OnceLock::from(credentials[at].clone());
            }
        }
        Ok(all)
    }

    /// Where the repository is; opens none.
    pub fn without_credential(args: &GlobalArgs) -> Result<Self> {
        let mut all = Self::places(args)?;
        match (all.pop(), all.is_empty()) {
            (Some(access), true) => Ok(access),
            _ => Err(Failure::usage("several repositories were named, and one is expected")),
        }
    }

    /// Where the repositories are; none of them twice.
    fn places(args: &GlobalArgs) -> Result<Vec<Self>> {
        if args.repo.is_empty() {
            return Err(no_repository());
        }
        let parsed = args.repo.iter().map(parse).collect::<Result<Vec<_>>>()?;
        for (at, url) in args.repo.iter().enumerate() {
            if args.repo[..at].contains(url) {
                let place = display_name(url.as_bytes());
                return Err(Failure::usage(format!(
                    "{place}: the same repository was named twice"
                )));
            }
        }
        let pins = PinOptions::new(args)?;
        let all = args.repo.iter().cloned().zip(parsed);
        let made = all.map(|(url, parsed)| Self {
            url,
            parsed,
            credential: OnceLock::new(),
            agent: None,
            cache_dir: cache_dir(args),
            pins: pins.clone(),
        });
        Ok(made.collect())
    }

    /// Of the repository that `copy` reads. Unless something else is said, what opens the one that
    /// it writes (`destination`) opens it, too.
    pub fn origin(from: &FromArgs, args: &GlobalArgs, destination: &Self) -> Result<Self> {
        let lookup = |name: &str| {
            let name = name.strip_prefix("STRONGROOM_")?;
            env::variable(&format!("STRONGROOM_FROM_{name}"))
        };
        let url = from.from_repo.clone();
        let parsed = parse(&url)?;
        let credential = match password::given(&from.credential(), &lookup, Purpose::Open)? {
            Some(credential) => OnceLock::from(credential),
            None => destination.credential.clone(),
        };
        Ok(Self {
            url,
            parsed,
            credential,
            agent: destination.agent.clone(),
            cache_dir: cache_dir(args),
            pins: destination.pins.without_head(),
        })
    }

    /// Where the repository is.
    pub fn into_url(self) -> TargetUrl {
        self.parsed
    }

    /// The repository as the user named it, for people.
    pub fn place(&self) -> String {
        display_name(self.url.as_bytes())
    }

    /// Where the repository is, if it is a folder of this machine.
    pub fn local_folder(&self) -> Option<&Path> {
        match &self.parsed {
            TargetUrl::Local(path) => Some(path),
            _ => None,
        }
    }

    fn unlock(&self) -> Unlock {
        let agent = self.agent.clone().map(|agent| agent as Arc<dyn KeyAgent>);
        Unlock { credential: self.credential.get().cloned(), agent }
    }
}

fn parse(url: &OsString) -> Result<TargetUrl> {
    if url.is_empty() {
        return Err(no_repository());
    }
    TargetUrl::parse(url).map_err(|error| Failure::from(Error::from(error)).with_exit(Exit::Usage))
}

fn no_repository() -> Failure {
    Failure::usage("no repository was named").hint("use -r/--repo or set STRONGROOM_REPOSITORY")
}

fn cache_dir(args: &GlobalArgs) -> Option<PathBuf> {
    match args.no_cache {
        true => None,
        false => args.cache_dir.clone().or_else(|| env::cache_dir(&env::variable)),
    }
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

    /// Who this client is.
    pub fn client_id(&self) -> ClientId {
        let dir = self.access.pins.state_dir().map(Path::to_path_buf);
        state::client_id(dir, &*self.runtime.randomness, self.console)
    }

    /// What the user gave, or is asked for now.
    pub async fn credential(&self) -> Result<&Credential> {
        if let Some(credential) = self.access.credential.get() {
            return Ok(credential);
        }
        let asking = async {
            let asked = tokio::task::spawn_blocking(|| password::ask_for(Purpose::Open));
            asked.await.unwrap_or_else(|_| Err(Failure::interrupted()))
        };
        let typed = self.interrupt.or(asking).await?;
        Ok(self.access.credential.get_or_init(|| typed))
    }

    /// Which repository is there; opens nothing.
    pub async fn repository_id(&self) -> Result<RepositoryId> {
        let doing = || "cannot look at the repository".to_owned();
        let looking = async {
            let target = self.target(OpenMode::Existing).await.doing(doing)?;
            Repository::id_at(&target).await.doing(doing)
        };
        self.interrupt.or(looking).await
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
        let storage = self.storage(&metrics).await;
        let runtime = self.runtime.clone();
        let unlock = self.access.unlock();
        let opened = Repository::unlock(storage.clone(), runtime.clone(), &unlock).await;
        let repository = match opened {
            // the agent did not know
            Err(error) if unlock.credential.is_none() && error.kind() == ErrorKind::WrongKey => {
                self.credential().await?;
                Repository::unlock(storage, runtime, &self.access.unlock()).await
            }
            other => other,
        };
        Ok(Opened { repository: repository.doing(doing)?, metrics })
    }

    async fn init_new(&self, options: &InitOptions) -> Result<(Opened, RecoveryKey)> {
        let doing = || "cannot make a repository".to_owned();
        let target = self.target(OpenMode::Create).await.doing(doing)?;
        let metrics = layers(target, &self.runtime).await.doing(doing)?;
        let trusts_create = self.probe(&metrics).await.doing(doing)?;
        let options = &InitOptions { trusts_create, ..options.clone() };
        let storage = self.storage(&metrics).await;
        let runtime = self.runtime.clone();
        let (repository, key) =
            Repository::init_with(storage, runtime, &self.access.unlock(), &label(), options)
                .await
                .doing(doing)?;
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

    /// Whether the storage decides who was first; warns if not.
    async fn probe(&self, target: &Arc<MetricsLayer>) -> Result<bool> {
        let unsafe_because = self.probed(target, false).await?;
        if let Some(why) = &unsafe_because {
            self.console.warn(&format!("this storage is not safe for prune: {why}"));
        }
        Ok(unsafe_because.is_none())
    }

    /// Why the storage is not safe for prune, if it is not. Removes what killed probes left there.
    pub async fn unsafe_because(&self, opened: &Opened) -> Result<Option<String>> {
        self.probed(&opened.metrics, true).await
    }

    /// Tries the storage; a folder of this machine is known to be safe.
    async fn probed(
        &self,
        target: &Arc<MetricsLayer>,
        removes_leftovers: bool,
    ) -> Result<Option<String>> {
        if self.access.local_folder().is_some() {
            return Ok(None);
        }
        let shared: SharedTarget = target.clone();
        let options = ProbeOptions { removes_leftovers, ..ProbeOptions::cheap() };
        let found = probe(&shared, &self.runtime, &KeyPrefix::all(), &options).await;
        let found = found.map_err(Error::from)?;
        Ok(match (found.is_safe(), found.lists_at_once) {
            (true, _) => None,
            (false, true) => Some(found.create.to_string()),
            (false, false) => Some("a listing does not show at once what was written".to_owned()),
        })
    }

    /// The target with its cache; a folder of this machine needs none.
    async fn storage(&self, target: &Arc<MetricsLayer>) -> Storage {
        let cache = match (&self.access.cache_dir, self.access.local_folder()) {
            (Some(dir), None) => cache::open(dir, &target.to_string(), self.console).await,
            _ => None,
        };
        let pins = self.access.pins.open(self.console).await;
        Storage { target: target.clone(), cache, pins }
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

/// Whose key slot it is, unless somebody says otherwise.
pub fn label() -> String {
    format!("{}@{}", env::user_name(), env::host_name())
}
