//! What bad networks and bad servers do, to every operation, over every HTTP protocol: each cell
//! has a result that is defined here, and nothing is ever lost, half written or wrongly read.

mod proxy;
mod storages;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, ObjectKey, Payload, PutMode, SharedTarget, TargetErrorKind,
        TargetExt, TargetResult,
        layers::{RetryConfig, RetryLayer},
    },
};

use self::{
    proxy::{Fault, Filter, Message, Proxy},
    storages::{PROTOCOLS, Protocol, Storage},
};

/// A kind of fault: what happens, and to how many requests.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    fault: Fault,
    times: u32,
    outcome: Outcome,
}

const FOR_EVER: u32 = u32::MAX;

/// What becomes of an operation that suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// As without the fault.
    Usual,
    /// An error of this kind.
    Fails(TargetErrorKind),
    /// As without the fault, or any error: nothing wrong is stored or given out.
    Settled,
    /// As without the fault, but a create overwrites: that is what the probe finds.
    Overwrites,
}

const KINDS: &[Kind] = &[
    kind("500 once", Fault::Status(500, None), 1, Outcome::Usual),
    kind("502 once", Fault::Status(502, None), 1, Outcome::Usual),
    kind("503 once", Fault::Status(503, None), 1, Outcome::Usual),
    kind("504 once", Fault::Status(504, None), 1, Outcome::Usual),
    kind("503 three times", Fault::Status(503, None), 3, Outcome::Usual),
    kind("500 for ever", Fault::Status(500, None), FOR_EVER, FAILS_UNAVAILABLE),
    kind("429 with Retry-After", Fault::Status(429, Some(1)), 1, Outcome::Usual),
    kind("429 without", Fault::Status(429, None), 1, Outcome::Usual),
    kind("403 in mid-run", Fault::Status(403, None), FOR_EVER, FAILS_DENIED),
    kind("404 on what exists", Fault::Status(404, None), 1, Outcome::Settled),
    kind("412", Fault::Status(412, None), 1, Outcome::Settled),
    kind("answer lost", Fault::AnswerLost, 1, Outcome::Usual),
    kind("reset in the content", Fault::Reset, 1, Outcome::Usual),
    kind("wrong length", Fault::ShortBody, 1, Outcome::Usual),
    kind("error inside of 200", Fault::ErrorInside, 1, Outcome::Settled),
    kind("conditions ignored", Fault::ConditionsIgnored, FOR_EVER, Outcome::Overwrites),
    kind("silence", Fault::Silence, 1, Outcome::Usual),
    kind("one byte a second", Fault::Drip, 1, Outcome::Usual),
];

const FAILS_UNAVAILABLE: Outcome = Outcome::Fails(TargetErrorKind::Unavailable);
const FAILS_DENIED: Outcome = Outcome::Fails(TargetErrorKind::Denied);

const fn kind(name: &'static str, fault: Fault, times: u32, outcome: Outcome) -> Kind {
    Kind { name, fault, times, outcome }
}

impl Kind {
    /// Faults that are noticed only after a while: their cells run all at once.
    fn is_slow(&self) -> bool {
        matches!(self.fault, Fault::Silence | Fault::Drip)
    }
}

/// What is done while the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Create,
    CreateExisting,
    Replace,
    LargePart,
    LargeCommit,
    Get,
    GetRange,
    Head,
    List,
    Delete,
}

const OPERATIONS: &[Doing] = &[
    Doing::Create,
    Doing::CreateExisting,
    Doing::Replace,
    Doing::LargePart,
    Doing::LargeCommit,
    Doing::Get,
    Doing::GetRange,
    Doing::Head,
    Doing::List,
    Doing::Delete,
];

/// Several times what a stall may take until it is noticed: what takes longer never ends.
const HANGS_AFTER: std::time::Duration = std::time::Duration::from_secs(200);

/// Larger than what any backend sends in one piece.
const LARGE_BYTES: usize = 40 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_every_operation_ends_as_defined() {
    let cells = all_cells(false);
    let count = cells.len();
    let failures = run_all(cells, 6).await;
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(count, 480);
}

/// All at once: each is noticed after most of a minute, by design.
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_survives_a_server_that_stalls() {
    let cells = all_cells(true);
    let count = cells.len();
    let failures = run_all(cells, count).await;
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(count, 60);
}

struct Cell {
    protocol: Protocol,
    kind: Kind,
    doing: Doing,
}

fn all_cells(is_slow: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for protocol in PROTOCOLS {
        for kind in KINDS.iter().filter(|kind| kind.is_slow() == is_slow) {
            for doing in OPERATIONS {
                cells.push(Cell { protocol: *protocol, kind: *kind, doing: *doing });
            }
        }
    }
    cells
}

async fn run_all(cells: Vec<Cell>, at_once: usize) -> Vec<String> {
    let mut storages = BTreeMap::new();
    for protocol in PROTOCOLS {
        storages.insert(*protocol, Storage::prepare(*protocol).await);
    }
    let storages = Arc::new(storages);
    let runs = stream::iter(cells.into_iter().enumerate()).map(|(number, cell)| {
        let storages = storages.clone();
        async move {
            let storage = &storages[&cell.protocol];
            let outcome = cell.run(storage, number).await;
            outcome.err().map(|why| {
                format!("{:?} {:?}, {}: {why}", cell.protocol, cell.doing, cell.kind.name)
            })
        }
    });
    runs.buffer_unordered(at_once).filter_map(futures::future::ready).collect().await
}

impl Cell {
    async fn run(&self, storage: &Storage, number: usize) -> Result<(), String> {
        let folder = format!("cell-{}-{number}", if self.kind.is_slow() { "slow" } else { "fast" });
        let direct = storage.open(storage.address(), &folder).await;
        let scene = Scene::set(self.doing, &direct).await;
        let proxy = Proxy::start(storage.address()).await;
        let through: SharedTarget = storage.open(proxy.address, &folder).await;
        let config = RetryConfig {
            tries_max: 6,
            wait_first: std::time::Duration::from_millis(1),
            wait_max: std::time::Duration::from_millis(20),
            total_max: std::time::Duration::from_secs(600),
        };
        let target = RetryLayer::new(through, config, Runtime::system());
        proxy.arm(self.kind.fault, self.doing.filter(self.protocol), self.kind.times);
        let acting = tokio::time::timeout(HANGS_AFTER, scene.act(&target));
        let done = acting.await.map_err(|_| "hangs".to_owned())?;
        if proxy.hits() == 0 {
            return Err("no request suffered".to_owned());
        }
        self.judge(&scene, &direct, done).await
    }

    fn is_signed_create(&self) -> bool {
        let is_create =
            matches!(self.doing, Doing::Create | Doing::CreateExisting | Doing::LargeCommit);
        is_create && self.protocol != Protocol::WebDav
    }

    /// Whether what came out is what is defined.
    async fn judge(
        &self,
        scene: &Scene,
        direct: &SharedTarget,
        done: TargetResult<Seen>,
    ) -> Result<(), String> {
        let usual = self.doing.usual();
        let ended = done.as_ref().map(|_| ()).map_err(|error| error.kind());
        let is_expected = match self.kind.outcome {
            Outcome::Usual => ended == usual,
            Outcome::Fails(kind) => ended == Err(kind),
            Outcome::Settled => true,
            // who signs conditions finds that they were taken away
            Outcome::Overwrites if self.is_signed_create() => ended == Err(TargetErrorKind::Denied),
            Outcome::Overwrites if self.doing == Doing::CreateExisting => true,
            Outcome::Overwrites => ended == usual,
        };
        let text = match &done {
            Ok(_) => "success".to_owned(),
            Err(error) => format!("{error} ({:?})", error.kind()),
        };
        if !is_expected {
            return Err(format!("ended in {text}"));
        }
        scene.check(direct, done, self.kind).await.map_err(|why| format!("{why}, after {text}"))
    }
}

impl Doing {
    /// How it ends without a fault.
    fn usual(self) -> Result<(), TargetErrorKind> {
        match self {
            Self::CreateExisting => Err(TargetErrorKind::AlreadyExists),
            _ => Ok(()),
        }
    }

    /// The requests that suffer.
    fn filter(self, protocol: Protocol) -> Filter {
        match self {
            Self::LargePart => protocol.part_filter(),
            Self::LargeCommit => protocol.commit_filter(),
            _ => |_: &Message| true,
        }
    }
}

/// What an operation gave.
enum Seen {
    Nothing,
    Content(Bytes),
    Size(u64),
    Names(Vec<String>),
}

/// The objects that an operation finds, and what it is to write.
struct Scene {
    doing: Doing,
    key: ObjectKey,
    before: Option<Bytes>,
    after: Bytes,
}

const NEIGHBOURS: [&str; 3] = ["a/1", "a/2", "b"];

impl Scene {
    async fn set(doing: Doing, direct: &SharedTarget) -> Self {
        let key = ObjectKey::parse("object").unwrap();
        let before = Bytes::from(crate::support::pseudo_random(300_000, 1));
        let before = match doing {
            Doing::Create | Doing::LargePart | Doing::LargeCommit => None,
            _ => Some(before),
        };
        if let Some(content) = &before {
            direct.replace(&key, content.clone()).await.unwrap();
        }
        if doing == Doing::List {
            for name in NEIGHBOURS {
                let key = ObjectKey::parse(name).unwrap();
                direct.replace(&key, vec![1, 2, 3]).await.unwrap();
            }
        }
        let length = match doing {
            Doing::LargePart | Doing::LargeCommit => LARGE_BYTES,
            _ => 200_000,
        };
        Self { doing, key, before, after: crate::support::pseudo_random(length, 2).into() }
    }

    async fn act(&self, target: &dyn BackupTarget) -> TargetResult<Seen> {
        let put = async |mode| target.put(&self.key, Payload::from(self.after.clone()), mode).await;
        match self.doing {
            Doing::Create | Doing::CreateExisting | Doing::LargePart | Doing::LargeCommit => {
                put(PutMode::Create).await.map(|()| Seen::Nothing)
            }
            Doing::Replace => put(PutMode::Replace).await.map(|()| Seen::Nothing),
            Doing::Get => target.get_full(&self.key).await.map(Seen::Content),
            Doing::GetRange => target.get_range(&self.key, 1_000, 50_000).await.map(Seen::Content),
            Doing::Head => target.head(&self.key).await.map(|found| Seen::Size(found.size_bytes)),
            Doing::List => {
                let listed = target.list_all(&KeyPrefix::all()).await?;
                let names = listed.into_iter().map(|object| object.key.to_string());
                Ok(Seen::Names(names.collect()))
            }
            Doing::Delete => target.delete(&self.key).await.map(|()| Seen::Nothing),
        }
    }

    /// Looks past the proxy: what is stored is the old or the new, whole; after a success the
    /// new. What was given out is what was stored.
    async fn check(
        &self,
        direct: &SharedTarget,
        done: TargetResult<Seen>,
        kind: Kind,
    ) -> Result<(), String> {
        let stored = match direct.get_full(&self.key).await {
            Ok(content) => Some(content),
            Err(error) if error.kind() == TargetErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot look: {error}")),
        };
        let is_before = stored == self.before;
        let is_after = stored.as_ref() == Some(&self.after);
        let expect = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        match (self.doing, done) {
            (Doing::Create | Doing::LargePart | Doing::LargeCommit | Doing::Replace, Ok(_)) => {
                expect(is_after, "acknowledged, and not stored")
            }
            (Doing::CreateExisting, Ok(_)) => {
                let is_lied_to = kind.outcome == Outcome::Overwrites;
                expect(is_after && is_lied_to, "an existing object was overwritten")
            }
            (Doing::CreateExisting, Err(_)) => expect(is_before, "the existing object changed"),
            (_, Ok(Seen::Content(content))) => {
                let all = self.before.clone().unwrap_or_default();
                let right = match self.doing {
                    Doing::Get => all,
                    _ => all.slice(1_000..51_000),
                };
                // an answer of another length or content is found by the seal of what is stored
                expect(content == right || kind.fault == Fault::ErrorInside, "wrong content")
            }
            (_, Ok(Seen::Size(size))) => {
                let right = self.before.as_ref().map_or(0, Bytes::len) as u64;
                // a head has no content that could tell a lie about its length
                let is_lied_to = matches!(kind.fault, Fault::ErrorInside | Fault::ShortBody);
                expect(size == right || is_lied_to, "a wrong size")
            }
            (_, Ok(Seen::Names(names))) => {
                let mut right: Vec<&str> = NEIGHBOURS.to_vec();
                right.push("object");
                expect(names == right, &format!("an incomplete listing: {names:?}"))
            }
            (Doing::Delete, Ok(_)) => {
                let is_lied_to = matches!(kind.fault, Fault::Status(404, _) | Fault::ErrorInside);
                expect(stored.is_none() || is_lied_to, "deleted, and still there")
            }
            (_, Err(_)) => expect(is_before || is_after, "half written"),
            (_, Ok(Seen::Nothing)) => Err("an answer without what was asked for".to_owned()),
        }
    }
}
