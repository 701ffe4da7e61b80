//! [`Place`]: an opened folder on an OpenDAL service, and the small calls that all else is made
//! of. Knows keys only as full names.

use std::{sync::atomic::Ordering, time::Duration};

use opendal::{EntryMode, Metadata, Operator, OperatorRegistry, raw::ServiceDyn};
use strongroom_backend_support::{Names, invalid};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    config::OpendalConfig,
    error::{is_blink, mapped},
    patience::{Again, call, is_stall, tidy},
    pipe::Body,
    service::{Folders, Publish, Traits},
    transport::{RequestCount, Transport},
};

/// How often to look again for an object that may be missing for a moment only, at once first
/// and then after a little more each time.
const BLINKS_MAX: u32 = 4;
const BLINK: Duration = Duration::from_millis(5);

/// Whether the folder must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It must.
    Existing,
    /// It is created if need be.
    Create,
}

/// An opened folder.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) operator: Operator,
    /// The same, but its moves never overwrite.
    pub(crate) exclusive: Operator,
    transport: Transport,
    pub(crate) traits: Traits,
    pub(crate) names: Names,
    pub(crate) concurrency: usize,
    called: String,
    /// Uploads and other calls are limited apart, so that the source of an upload may itself
    /// read from here.
    uploads: Semaphore,
    calls: Semaphore,
    requests: Option<RequestCount>,
    /// What a transfer's own operator is made of, where it needs one.
    anew: Option<OpendalConfig>,
}

impl Place {
    /// Connects, and looks for the folder or creates it.
    pub(crate) async fn open(config: &OpendalConfig, opening: Opening) -> TargetResult<Self> {
        let requests = RequestCount::default();
        let top = operator(config, &[])?;
        // What the service itself has: OpenDAL makes up for folders that it has not.
        let traits = Traits::of(&config.service, &top.base_service().capability_dyn());
        let transport = Transport::new(config.ca_file.as_deref(), requests.clone())?;
        let root: &[String] = if config.is_below_home { &[] } else { &config.path };
        let base: &[String] = if config.is_below_home { &config.path } else { &[] };
        let bare = operator(config, root)?;
        let concurrency = config.concurrency.unwrap_or(traits.concurrency).max(1);
        let place = Self {
            operator: with_transport(bare.clone(), transport.clone()),
            exclusive: with_transport(bare, transport.exclusive()),
            transport: transport.clone(),
            traits,
            names: Names::new(base),
            concurrency,
            called: config.place.clone(),
            uploads: Semaphore::new(concurrency),
            calls: Semaphore::new(concurrency),
            requests: speaks_http(&config.service).then_some(requests),
            anew: traits.is_ftp.then(|| config.clone()),
        };
        let top = with_transport(top, transport);
        place.find_folder(&top, &config.path.join("/"), opening).await?;
        Ok(place)
    }

    async fn find_folder(&self, top: &Operator, path: &str, opening: Opening) -> TargetResult<()> {
        if path.is_empty() || self.traits.folders == Folders::None {
            // Nothing to find; but wrong credentials and a missing bucket should show now.
            let mut lister = call(Operation::Open, self.operator.lister("/")).await?;
            return call(Operation::Open, async {
                use futures::TryStreamExt;
                lister.try_next().await
            })
            .await
            .map(drop);
        }
        let folder = format!("{path}/");
        let missing = match call(Operation::Open, top.stat(&folder)).await {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(invalid("there is a file where the folder should be").at(self)),
            Err(error) if error.kind() == TargetErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        match opening {
            Opening::Existing => Err(missing.at(self).hint("create it, or let init create it")),
            Opening::Create => call(Operation::Open, top.create_dir(&folder)).await,
        }
    }

    /// The operator for one upload or download. OpenDAL's FTP service ends no download, and no
    /// upload that fails; the connection that it then returns to its pool is spoilt, at times for
    /// good. So each transfer there has a pool, and with it a connection, of its own.
    pub(crate) fn operator_for_transfer(&self) -> TargetResult<Operator> {
        match &self.anew {
            Some(config) => operator(config, &config.path),
            None => Ok(self.operator.clone()),
        }
    }

    /// The operator for one upload of an empty object, which sends `body` instead.
    pub(crate) fn operator_carrying(&self, body: Body) -> Operator {
        with_transport(self.operator.clone(), self.transport.carrying(body))
    }

    /// How many requests went out, where they can be counted.
    pub(crate) fn requests(&self) -> Option<u64> {
        self.requests.as_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits for the turn of an upload.
    pub(crate) async fn turn_to_upload(&self) -> TargetResult<SemaphorePermit<'_>> {
        turn(&self.uploads).await
    }

    /// Waits for the turn of any other call.
    pub(crate) async fn turn_to_call(&self) -> TargetResult<SemaphorePermit<'_>> {
        turn(&self.calls).await
    }

    /// A small call that may be repeated, and is while the answer says nothing of it.
    pub(crate) async fn ask<T, Request>(
        &self,
        operation: Operation,
        request: impl Fn() -> Request,
    ) -> TargetResult<T>
    where
        Request: Future<Output = opendal::Result<T>>,
    {
        let mut answer = call(operation, request()).await;
        let mut again = Again::default();
        while again.after(&answer).await {
            answer = call(operation, request()).await;
        }
        answer
    }

    /// What `look` finds. A server that moves onto an object removes it first, so that it is
    /// missing for a moment: there only what is missing several times is missing.
    pub(crate) async fn looked_for<T, Look>(&self, look: impl Fn() -> Look) -> TargetResult<T>
    where
        Look: Future<Output = TargetResult<T>>,
    {
        let may_blink = matches!(self.traits.publish, Publish::Move { .. });
        let mut found = look().await;
        for blink in 0..if may_blink { BLINKS_MAX } else { 0 } {
            if !found.as_ref().is_err_and(is_blink) {
                break;
            }
            tokio::time::sleep(BLINK * blink).await;
            found = look().await;
        }
        found
    }

    /// What stands under `name`; a folder counts as nothing.
    pub(crate) async fn stat(&self, operation: Operation, name: &str) -> TargetResult<Metadata> {
        let found = self.ask(operation, || self.operator.stat(name)).await?;
        if found.mode() == EntryMode::FILE {
            return Ok(found);
        }
        let why = "there is no such object, but a folder of that name";
        Err(TargetError::new(TargetErrorKind::NotFound, operation, why))
    }

    /// Whether there is an object under `name`.
    pub(crate) async fn exists(&self, operation: Operation, name: &str) -> TargetResult<bool> {
        match self.stat(operation, name).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the object under `name`; a folder of that name stays.
    pub(crate) async fn delete(&self, name: &str) -> TargetResult<()> {
        let operation = Operation::Delete;
        if self.traits.folders == Folders::Removed && !self.exists(operation, name).await? {
            return Ok(());
        }
        let deleted = self.ask(operation, || self.operator.delete(name)).await;
        match deleted {
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(()),
            // Some servers give no reason when it is a folder.
            Err(error) if self.traits.folders == Folders::Kept && !is_stall(&error) => {
                match self.exists(operation, name).await {
                    Ok(false) => Ok(()),
                    _ => Err(error),
                }
            }
            deleted => deleted,
        }
    }

    /// Tries to remove what is of no use any more; whoever sees it later leaves it out anyway.
    pub(crate) async fn discard(&self, name: &str) {
        tidy(name, self.operator.delete(name)).await;
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.called)
    }
}

async fn turn(semaphore: &Semaphore) -> TargetResult<SemaphorePermit<'_>> {
    semaphore.acquire().await.map_err(|closed| {
        TargetError::new(TargetErrorKind::Unexpected, Operation::Open, "the target is closed")
            .because(closed)
    })
}

fn speaks_http(service: &str) -> bool {
    !matches!(service, "sftp" | "ftp" | "memory")
}

fn with_transport(operator: Operator, transport: Transport) -> Operator {
    let transporter = opendal::HttpTransporter::new(transport);
    let context = operator.context().with_http_transport(transporter);
    operator.with_context(context)
}

/// OpenDAL's operator at `path`.
fn operator(config: &OpendalConfig, path: &[String]) -> TargetResult<Operator> {
    opendal::init_default_registry();
    let service = &config.service;
    let known = OperatorRegistry::get().schemes();
    if !known.contains(service) {
        let mut known: Vec<String> = known.into_iter().collect();
        known.sort_unstable();
        let why = format!("OpenDAL's service {service:?} is not built in");
        return Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why)
            .hint(format!("built in are {}", known.join(", "))));
    }
    refuse_ftps(config)?;
    Operator::via_iter(service, config.all_options(path))
        .map_err(|error| mapped(Operation::Open, error).at(&config.place))
}

/// OpenDAL's uploads over FTP with TLS come short, the server says that all is well, and half an
/// object is published; see `docs/decisions/0007-opendal.md`. So this is refused. An endpoint
/// without a scheme is TLS to OpenDAL, too.
fn refuse_ftps(config: &OpendalConfig) -> TargetResult<()> {
    let endpoint = config.options.get("endpoint").map_or("", String::as_str);
    if config.service != "ftp" || endpoint.starts_with("ftp://") {
        return Ok(());
    }
    let why =
        "FTP over TLS is refused: OpenDAL cuts uploads short there, and servers do not notice";
    Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why)
        .at(&config.place)
        .hint("use sftp:// or webdavs://, or ftp:// through a tunnel that encrypts"))
}
