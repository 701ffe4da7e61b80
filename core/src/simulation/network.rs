//! The storage as the actors of a simulation see it: far away, slow, forgetful.
//!
//! A request, once sent, does what it asks for even if the process that sent it is gone; some do
//! it twice, the second time much later. Answers get lost. Listings of several pages show each
//! page as it was at another moment. Knows nothing of what is stored.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::dice::{Dice, in_lane};
use crate::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, MemoryTarget, ObjectKey, ObjectMeta,
    Operation, Payload, PutMode, TargetError, TargetErrorKind, TargetResult,
};

/// Objects in a page of a listing.
const PAGE_OBJECTS: usize = 12;
/// How late a request may be applied again.
pub(super) const LATE_MAX: Duration = Duration::from_secs(20 * 3600);
/// A client waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// What goes wrong, in cases of a thousand calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) refused: u64,
    pub(super) answer_lost: u64,
    pub(super) repeated: u64,
    pub(super) stuck: u64,
    pub(super) crash: u64,
    pub(super) freeze: u64,
    pub(super) delay_max: Duration,
}

impl Weather {
    /// Nothing goes wrong.
    pub(super) const CALM: Self = Self {
        refused: 0,
        answer_lost: 0,
        repeated: 0,
        stuck: 0,
        crash: 0,
        freeze: 0,
        delay_max: Duration::from_millis(1),
    };

    /// Some seeds are worse than others.
    pub(super) fn of(dice: &Dice) -> Self {
        Self {
            refused: dice.below(40),
            answer_lost: dice.below(40),
            repeated: dice.below(60),
            stuck: dice.below(20),
            crash: dice.below(15),
            freeze: dice.below(15),
            delay_max: Duration::from_millis(1 << dice.below(14)),
        }
    }
}

/// The storage, and what was done to it.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) store: MemoryTarget,
    pub(super) start: Instant,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    hash: blake3::Hasher,
    calls: u64,
    /// The last calls; only kept where somebody will read them.
    lines: Option<Vec<String>>,
}

impl Network {
    pub(super) fn new(is_told: bool) -> Arc<Self> {
        let log = Log { lines: is_told.then(Vec::new), ..Log::default() };
        let store = MemoryTarget::new();
        Arc::new(Self { store, start: Instant::now(), log: Mutex::new(log) })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, lane: u64, deed: fmt::Arguments<'_>) {
        let at = (Instant::now() - self.start).as_millis();
        let line = format!("{at:>10} {lane:>2} {deed}");
        let mut log = self.log();
        log.hash.update(line.as_bytes()).update(b"\n");
        log.calls += 1;
        log.lines.as_mut().into_iter().for_each(|lines| lines.push(line.clone()));
    }

    /// A fingerprint of all calls in their order, and how many they were.
    pub(super) fn summary(&self) -> (String, u64) {
        let log = self.log();
        (log.hash.finalize().to_hex().to_string(), log.calls)
    }

    /// All calls, if they were kept.
    pub(super) fn told(&self) -> Vec<String> {
        self.log().lines.clone().unwrap_or_default()
    }

    async fn apply(&self, lane: u64, request: &Request) -> TargetResult<Reply> {
        let reply = match request {
            Request::Put(key, content, mode) => {
                let payload = Payload::from(content.clone());
                self.store.put(key, payload, *mode).await.map(|()| Reply::Done)
            }
            Request::Get(key, range) => self.store.get(key, *range).await.map(Reply::Content),
            Request::Head(key) => self.store.head(key).await.map(Reply::Meta),
            Request::Delete(key) => self.store.delete(key).await.map(|()| Reply::Done),
            Request::List(prefix, after) => self.page(prefix, after.as_ref()).await,
        };
        match &reply {
            Ok(Reply::Page(page)) => self.note(lane, format_args!("{request}: {}", page.len())),
            Ok(_) => self.note(lane, format_args!("{request}")),
            Err(error) => self.note(lane, format_args!("{request}: {:?}", error.kind())),
        }
        reply
    }

    async fn page(&self, prefix: &KeyPrefix, after: Option<&ObjectKey>) -> TargetResult<Reply> {
        let mut objects: Vec<ObjectMeta> = self.store.list(prefix).try_collect().await?;
        objects.sort_by(|left, right| left.key.cmp(&right.key));
        objects.retain(|object| after.is_none_or(|after| object.key > *after));
        objects.truncate(PAGE_OBJECTS);
        Ok(Reply::Page(objects))
    }
}

#[derive(Debug, Clone)]
enum Request {
    Put(ObjectKey, Bytes, PutMode),
    Get(ObjectKey, ByteRange),
    Head(ObjectKey),
    Delete(ObjectKey),
    List(KeyPrefix, Option<ObjectKey>),
}

#[derive(Debug)]
enum Reply {
    Done,
    Content(Bytes),
    Meta(ObjectMeta),
    Page(Vec<ObjectMeta>),
}

impl Request {
    fn operation(&self) -> Operation {
        match self {
            Self::Put(..) => Operation::Put,
            Self::Get(..) => Operation::Get,
            Self::Head(_) => Operation::Head,
            Self::Delete(_) => Operation::Delete,
            Self::List(..) => Operation::List,
        }
    }

    fn changes_something(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(_))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, content, PutMode::Create) => write!(f, "create {key} {}", content.len()),
            Self::Put(key, content, PutMode::Replace) => write!(f, "put {key} {}", content.len()),
            Self::Get(key, _) => write!(f, "get {key}"),
            Self::Head(key) => write!(f, "head {key}"),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::List(prefix, after) => {
                let after = after.as_ref().map_or("", ObjectKey::as_str);
                write!(f, "list {} after {after}", prefix.as_str())
            }
        }
    }
}

/// What becomes of one call.
struct Fate {
    way_there: Duration,
    way_back: Duration,
    again_after: Option<Duration>,
    is_refused: bool,
    is_answer_lost: bool,
    crashes: bool,
    freezes_for: Duration,
}

/// The way of one process to the storage.
pub(super) struct Door {
    pub(super) network: Arc<Network>,
    pub(super) lane: u64,
    pub(super) weather: Weather,
    pub(super) dice: Dice,
    /// Tells whoever runs the process that it was killed.
    pub(super) killed: Arc<Notify>,
    pub(super) frozen_until: Mutex<Option<Instant>>,
}

impl Door {
    fn fate(&self) -> Fate {
        let (dice, weather) = (&self.dice, &self.weather);
        let is_stuck = dice.happens(weather.stuck);
        let slow = if is_stuck { LATE_MAX / 8 } else { weather.delay_max };
        let again = dice.happens(weather.repeated);
        let late = if dice.happens(500) { LATE_MAX } else { Duration::from_secs(60) };
        let freezes = dice.happens(weather.freeze);
        Fate {
            way_there: dice.wait(slow),
            way_back: dice.wait(weather.delay_max),
            again_after: again.then(|| dice.wait(late)),
            is_refused: dice.happens(weather.refused),
            is_answer_lost: dice.happens(weather.answer_lost),
            crashes: dice.happens(weather.crash),
            freezes_for: if freezes { dice.wait(LATE_MAX) } else { Duration::ZERO },
        }
    }

    async fn pass(&self, duration: Duration) {
        in_lane(self.network.start, self.lane, duration).await;
    }

    /// Waits while the process is frozen.
    async fn thaw(&self) {
        loop {
            let until = *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => self.pass(until - Instant::now()).await,
                _ => return,
            }
        }
    }

    fn freeze(&self, duration: Duration) {
        let mut until = self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + duration);
    }

    async fn call(&self, request: Request) -> TargetResult<Reply> {
        self.thaw().await;
        let fate = self.fate();
        let operation = request.operation();
        let unavailable = |why| Err(TargetError::new(TargetErrorKind::Unavailable, operation, why));
        if fate.is_refused {
            self.pass(fate.way_back).await;
            return unavailable("refused");
        }
        let answer = self.send(request, &fate);
        if fate.crashes {
            self.pass(fate.way_back).await;
            self.killed.notify_one();
            return futures::future::pending().await;
        }
        if fate.freezes_for > Duration::ZERO {
            self.freeze(fate.freezes_for);
        }
        let reply = tokio::select! {
            biased;
            reply = answer => reply.unwrap_or_else(|_| unavailable("no answer")),
            () = self.pass(PATIENCE) => unavailable("no answer"),
        };
        self.pass(fate.way_back).await;
        self.thaw().await;
        if fate.is_answer_lost { unavailable("the answer was lost") } else { reply }
    }

    /// Sends the request on its way: what becomes of the sender does not matter any more.
    #[expect(clippy::disallowed_methods, reason = "requests under way belong to nobody")]
    fn send(&self, request: Request, fate: &Fate) -> oneshot::Receiver<TargetResult<Reply>> {
        let (sender, answer) = oneshot::channel();
        let (network, lane, way) = (self.network.clone(), self.lane, fate.way_there);
        let again_after = fate.again_after.filter(|_| request.changes_something());
        tokio::spawn(async move {
            in_lane(network.start, lane, way).await;
            // who sent it may have stopped waiting
            let _ = sender.send(network.apply(lane, &request).await);
            if let Some(again_after) = again_after {
                in_lane(network.start, lane, again_after).await;
                let _ = network.apply(lane, &request).await;
            }
        });
        answer
    }

    async fn list_page(
        &self,
        prefix: KeyPrefix,
        after: Option<ObjectKey>,
    ) -> TargetResult<Vec<ObjectMeta>> {
        match self.call(Request::List(prefix, after)).await? {
            Reply::Page(page) => Ok(page),
            _ => Err(confused(Operation::List)),
        }
    }
}

fn confused(operation: Operation) -> TargetError {
    TargetError::new(TargetErrorKind::Unexpected, operation, "the answer to something else")
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({})", self.lane)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulation")
    }
}

#[async_trait]
impl BackupTarget for Door {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let content = payload.into_bytes().await?;
        self.call(Request::Put(key.clone(), content, mode)).await.map(drop)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        match self.call(Request::Get(key.clone(), range)).await? {
            Reply::Content(content) => Ok(content),
            _ => Err(confused(Operation::Get)),
        }
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        match self.call(Request::Head(key.clone())).await? {
            Reply::Meta(meta) => Ok(meta),
            _ => Err(confused(Operation::Head)),
        }
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let first = Some((prefix.clone(), None));
        stream::try_unfold(first, move |next| async move {
            let Some((prefix, after)) = next else { return Ok(None) };
            let page = self.list_page(prefix.clone(), after).await?;
            let is_full = page.len() == PAGE_OBJECTS;
            let next = page.last().filter(|_| is_full).map(|last| (prefix, Some(last.key.clone())));
            Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
        })
        .try_flatten()
        .boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.call(Request::Delete(key.clone())).await.map(drop)
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.network.store.capabilities().await
    }
}
