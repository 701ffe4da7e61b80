//! Each layer by itself, and every layer under the conformance suite.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};

use super::*;
use crate::{
    runtime::{Clock, Randomness, Runtime, SystemRandomness, Timestamp},
    target::{
        BackupTarget, ByteRange, Capabilities, KeyPrefix, MemoryTarget, ObjectKey, ObjectMeta,
        Operation, Payload, PutMode, SharedTarget, TargetError, TargetErrorKind, TargetExt,
        TargetResult,
        conformance::{self, Options},
    },
};

/// Time that passes only by sleeping, at once.
#[derive(Debug, Default)]
struct FastClock {
    now: Mutex<Duration>,
    sleeps: Mutex<Vec<Duration>>,
}

impl FastClock {
    fn sleeps(&self) -> Vec<Duration> {
        self.sleeps.lock().unwrap().clone()
    }
}

#[async_trait]
impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.lock().unwrap().as_nanos() as i64)
    }
    fn monotonic(&self) -> Duration {
        *self.now.lock().unwrap()
    }
    async fn sleep(&self, duration: Duration) {
        *self.now.lock().unwrap() += duration;
        self.sleeps.lock().unwrap().push(duration);
        tokio::task::yield_now().await;
    }
}

/// Draws the largest value always: full jitter becomes its own bound.
#[derive(Debug)]
struct Highest;

impl Randomness for Highest {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0xff);
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn memory() -> SharedTarget {
    Arc::new(MemoryTarget::new())
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A memory target that fails on purpose, under retries that take no time.
struct Retried {
    clock: Arc<FastClock>,
    memory: SharedTarget,
    fault: Arc<FaultLayer>,
    record: Arc<RecordLayer>,
    retry: RetryLayer,
}

fn retried(config: RetryConfig, randomness: Arc<dyn Randomness>) -> Retried {
    let clock = Arc::new(FastClock::default());
    let memory = memory();
    let fault = Arc::new(FaultLayer::new(memory.clone(), clock.clone()));
    let record = Arc::new(RecordLayer::new(fault.clone()));
    let runtime = Runtime { clock: clock.clone(), randomness };
    let retry = RetryLayer::new(record.clone(), config, runtime);
    Retried { clock, memory, fault, record, retry }
}

fn usual() -> Retried {
    retried(RetryConfig::default(), Arc::new(Highest))
}

#[tokio::test]
async fn retry_repeats_every_call_until_it_works() {
    let t = usual();
    t.fault.add(FaultRule::fail(Operation::Put, TargetErrorKind::Unavailable).first(2));
    t.fault.add(FaultRule::fail(Operation::Get, TargetErrorKind::Throttled).first(2));
    t.fault.add(FaultRule::fail(Operation::Head, TargetErrorKind::Unavailable).first(2));
    t.fault.add(FaultRule::fail(Operation::List, TargetErrorKind::Unavailable).first(2));
    t.fault.add(FaultRule::fail(Operation::Delete, TargetErrorKind::Unavailable).first(2));
    t.fault.add(FaultRule::fail(Operation::Capabilities, TargetErrorKind::Unavailable).first(2));
    t.retry.create(&key("a"), bytes("x")).await.unwrap();
    assert_eq!(t.retry.get_full(&key("a")).await.unwrap(), bytes("x"));
    assert_eq!(t.retry.head(&key("a")).await.unwrap().size_bytes, 1);
    assert_eq!(t.retry.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
    t.retry.delete(&key("a")).await.unwrap();
    t.retry.capabilities().await.unwrap();
    assert_eq!(t.record.log().len(), 18);
    assert_eq!(t.clock.sleeps().len(), 12);
}

#[tokio::test]
async fn retry_waits_grow_up_to_their_bound_and_tries_end() {
    let t = usual();
    t.fault.add(FaultRule::fail(Operation::Head, TargetErrorKind::Unavailable));
    let error = t.retry.head(&key("a")).await.unwrap_err();
    assert_eq!(error.to_string(), "head a: gave up after 10 tries: head a: made to fail");
    assert_eq!(error.kind(), TargetErrorKind::Unavailable);
    assert!(!error.is_retryable(), "an outer retry must not multiply the tries");
    let millis: Vec<u128> = t.clock.sleeps().iter().map(|wait| wait.as_millis() + 1).collect();
    assert_eq!(millis, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
}

#[tokio::test]
async fn retry_jitter_stays_below_the_bound_and_differs() {
    let t = retried(RetryConfig::default(), Arc::new(SystemRandomness));
    t.fault.add(FaultRule::fail(Operation::Head, TargetErrorKind::Unavailable));
    t.retry.head(&key("a")).await.unwrap_err();
    let first = t.clock.sleeps();
    t.retry.head(&key("a")).await.unwrap_err();
    let second = t.clock.sleeps().split_off(first.len());
    assert_ne!(first, second);
    assert!(first[0] <= Duration::from_millis(200) && first[3] <= Duration::from_millis(1600));
}

#[tokio::test]
async fn retry_ends_when_its_time_is_used_up() {
    let config = RetryConfig { total_max: Duration::from_secs(2), ..RetryConfig::default() };
    let t = retried(config, Arc::new(Highest));
    t.fault.add(FaultRule::fail(Operation::Head, TargetErrorKind::Unavailable));
    t.retry.head(&key("a")).await.unwrap_err();
    assert!(t.clock.monotonic() <= Duration::from_secs(2));
    assert_eq!(t.record.count(Operation::Head), 4);
}

#[tokio::test]
async fn retry_leaves_lasting_errors_alone() {
    let t = usual();
    t.fault.add(FaultRule::fail(Operation::Put, TargetErrorKind::Denied));
    let error = t.retry.create(&key("a"), bytes("x")).await.unwrap_err();
    assert_eq!(error.to_string(), "put a: made to fail");
    assert_eq!((t.record.log().len(), t.clock.sleeps().len()), (1, 0));
}

/// Asks for a wait of its own choice, then works.
#[derive(Debug)]
struct AsksToWait {
    inner: SharedTarget,
    wait: Duration,
    asked: AtomicUsize,
}

impl std::fmt::Display for AsksToWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for AsksToWait {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.inner.put(key, payload, mode).await
    }
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.inner.get(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        if self.asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return self.inner.head(key).await;
        }
        Err(TargetError::new(TargetErrorKind::Throttled, Operation::Head, "slow down")
            .on(key)
            .retry_after(self.wait)
            .hint("ask for a higher quota"))
    }
    fn list(&self, prefix: &KeyPrefix) -> stream::BoxStream<'_, TargetResult<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.inner.delete(key).await
    }
    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }
}

#[tokio::test]
async fn retry_keeps_the_wait_that_the_storage_asks_for() {
    for (wait, works) in [(Duration::from_secs(7), true), (Duration::from_secs(3600), false)] {
        let clock = Arc::new(FastClock::default());
        let inner = memory();
        inner.create(&key("a"), bytes("x")).await.unwrap();
        let target = Arc::new(AsksToWait { inner, wait, asked: AtomicUsize::new(0) });
        let runtime = Runtime { clock: clock.clone(), randomness: Arc::new(Highest) };
        let retry = RetryLayer::new(target, RetryConfig::default(), runtime);
        assert_eq!(retry.head(&key("a")).await.is_ok(), works);
        assert_eq!(clock.sleeps(), if works { vec![wait] } else { vec![] });
    }
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_success() {
    for parts in [vec![], vec![bytes("one"), bytes(""), bytes("two")]] {
        let t = usual();
        t.fault.add(FaultRule::lose_answer(Operation::Put).first(1));
        t.retry.create(&key("a"), parts.clone()).await.unwrap();
        let whole = parts.concat();
        assert_eq!(t.memory.get_full(&key("a")).await.unwrap(), whole);
    }
}

#[tokio::test]
async fn a_create_that_lost_to_another_is_already_exists() {
    for other in ["onetw0", "longer than ours", ""] {
        let t = usual();
        t.memory.create(&key("a"), bytes(other)).await.unwrap();
        t.fault.add(FaultRule::fail(Operation::Put, TargetErrorKind::Unavailable).first(1));
        let parts = vec![bytes("one"), bytes("two")];
        let error = t.retry.create(&key("a"), parts).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::AlreadyExists);
        assert_eq!(t.memory.get_full(&key("a")).await.unwrap(), bytes(other));
    }
}

#[tokio::test]
async fn a_first_create_is_not_read_back() {
    let t = usual();
    t.memory.create(&key("a"), bytes("same")).await.unwrap();
    let error = t.retry.create(&key("a"), bytes("same")).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::AlreadyExists);
    assert_eq!(t.record.log().len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_of_create_is_not_called_already_exists() {
    let t = usual();
    t.fault.add(FaultRule::lose_answer(Operation::Put).first(1));
    t.fault.add(FaultRule::fail(Operation::Get, TargetErrorKind::Unavailable));
    let error = t.retry.create(&key("a"), bytes("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (TargetErrorKind::Unavailable, Operation::Get));
}

#[tokio::test]
async fn a_streamed_payload_gets_one_try() {
    let t = usual();
    t.fault.add(FaultRule::fail(Operation::Put, TargetErrorKind::Unavailable).first(1));
    let payload = Payload::Streamed(stream::iter([Ok(bytes("x"))]).boxed());
    let error = t.retry.put(&key("a"), payload, PutMode::Create).await.unwrap_err();
    assert!(error.is_retryable(), "the caller may begin anew");
    assert_eq!(t.record.log().len(), 1);
}

#[tokio::test]
async fn a_broken_listing_goes_on_and_gives_each_object_once() {
    let t = usual();
    for number in 0..10 {
        t.memory.create(&key(&format!("k/{number}")), bytes("x")).await.unwrap();
    }
    for (n, length) in [(1, 3), (2, 7)] {
        let breaks = FaultEffect::Fail(TargetErrorKind::Unavailable, When::After);
        t.fault.add(FaultRule::new(Operation::List, FaultEffect::Truncate(length)).nth(n));
        t.fault.add(FaultRule::new(Operation::List, breaks).nth(n));
    }
    assert_eq!(t.retry.list_all(&KeyPrefix::all()).await.unwrap().len(), 10);
    assert_eq!(t.record.count(Operation::List), 3);
    t.fault.add(FaultRule::fail(Operation::List, TargetErrorKind::Unavailable));
    let objects: Vec<_> = t.retry.list(&KeyPrefix::all()).collect().await;
    assert!(matches!(objects.as_slice(), [Err(_)]), "one error, then the end");
}

/// Counts how many puts are under way at once.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

#[tokio::test]
async fn the_concurrency_limit_holds() {
    let gauge = Arc::new(Gauge::default());
    let target = Arc::new(ConcurrencyLimitLayer::new(memory(), 3));
    let puts = (0..40).map(|number| {
        let (gauge, target) = (gauge.clone(), target.clone());
        async move {
            let probe = stream::once(async move {
                let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
                gauge.peak.fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                gauge.now.fetch_sub(1, Ordering::SeqCst);
                Ok(bytes("x"))
            });
            let payload = Payload::Streamed(probe.boxed());
            target.put(&key(&format!("k/{number}")), payload, PutMode::Create).await
        }
    });
    assert!(join_all(puts).await.iter().all(Result::is_ok));
    assert_eq!(gauge.peak.load(Ordering::SeqCst), 3);
    assert_eq!(target.capabilities().await.unwrap().concurrency, 3);
}

#[tokio::test]
async fn a_listing_under_the_limit_lets_its_reader_make_calls() {
    let target = ConcurrencyLimitLayer::new(memory(), 1);
    for number in 0..5 {
        target.create(&key(&format!("k/{number}")), bytes("x")).await.unwrap();
    }
    let mut objects = target.list(&KeyPrefix::all());
    while let Some(object) = objects.next().await {
        target.delete(&object.unwrap().key).await.unwrap();
    }
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}

fn limited(clock: &Arc<FastClock>, up: Option<u64>, down: Option<u64>) -> RateLimitLayer {
    let config = RateLimitConfig {
        upload_bytes_per_second: up.and_then(NonZeroU64::new),
        download_bytes_per_second: down.and_then(NonZeroU64::new),
    };
    RateLimitLayer::new(memory(), config, clock.clone())
}

#[tokio::test]
async fn the_rate_limit_holds_up_and_down_after_a_burst() {
    let clock = Arc::new(FastClock::default());
    let target = limited(&clock, Some(1000), Some(500));
    for number in 0..10 {
        target.create(&key(&format!("k/{number}")), vec![0; 1000]).await.unwrap();
    }
    assert_eq!(clock.monotonic(), Duration::from_secs(9), "10,000 bytes, 1,000 of them a burst");
    for number in 0..10 {
        target.get_full(&key(&format!("k/{number}"))).await.unwrap();
    }
    assert_eq!(clock.monotonic(), Duration::from_secs(9 + 19));
}

#[tokio::test]
async fn the_rate_limit_paces_streams_and_counts_what_comes_back() {
    let clock = Arc::new(FastClock::default());
    let target = limited(&clock, Some(1000), None);
    let parts: Vec<_> = (0..5).map(|_| Ok(Bytes::from(vec![0; 1000]))).collect();
    let payload = Payload::Streamed(stream::iter(parts).boxed());
    target.put(&key("a"), payload, PutMode::Create).await.unwrap();
    assert_eq!(clock.sleeps(), [Duration::from_secs(1); 4]);
    target.get_full(&key("a")).await.unwrap();
    assert_eq!(clock.sleeps().len(), 4, "downloads are unlimited here");
}

#[tokio::test]
async fn a_prefix_hides_what_lies_outside() {
    let whole = memory();
    let part = PrefixLayer::new(whole.clone(), KeyPrefix::parse("a/b").unwrap());
    part.create(&key("c/d"), bytes("x")).await.unwrap();
    whole.create(&key("a/bc"), bytes("y")).await.unwrap();
    assert!(whole.exists(&key("a/b/c/d")).await.unwrap());
    assert_eq!(part.head(&key("c/d")).await.unwrap().key, key("c/d"));
    for prefix in [KeyPrefix::all(), KeyPrefix::parse("c").unwrap()] {
        let listed = part.list_all(&prefix).await.unwrap();
        assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key("c/d")]);
    }
    assert_eq!(part.to_string(), "memory/a/b");
    let error = part.get_full(&key("none")).await.unwrap_err();
    assert_eq!(error.key(), Some("a/b/none"));
    let too_long = key(&["k"; 256].join("/"));
    let error = part.create(&too_long, bytes("x")).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid);
    let too_long = KeyPrefix::parse(too_long.as_str()).unwrap();
    assert!(part.list_all(&too_long).await.is_err());
}

#[tokio::test]
async fn metrics_count_calls_failures_and_bytes() {
    let target = MetricsLayer::new(memory());
    target.create(&key("a"), vec![bytes("12"), bytes("345")]).await.unwrap();
    target.create(&key("a"), bytes("1")).await.unwrap_err();
    let payload = Payload::Streamed(stream::iter([Ok(bytes("1234"))]).boxed());
    target.put(&key("b"), payload, PutMode::Create).await.unwrap();
    target.get_range(&key("a"), 1, 2).await.unwrap();
    target.get_full(&key("none")).await.unwrap_err();
    target.head(&key("a")).await.unwrap();
    target.list_all(&KeyPrefix::all()).await.unwrap();
    target.delete(&key("a")).await.unwrap();
    let metrics = target.snapshot();
    assert_eq!(metrics.put, OperationMetrics { calls: 3, failures: 1, bytes: 10 });
    assert_eq!(metrics.get, OperationMetrics { calls: 2, failures: 1, bytes: 2 });
    assert_eq!((metrics.head.calls, metrics.list.calls, metrics.delete.calls), (1, 1, 1));
    assert_eq!(metrics.capabilities, OperationMetrics::default());
    let json = serde_json::to_value(metrics).unwrap();
    assert_eq!(json["put"]["bytes"], 10);
}

#[tokio::test]
async fn the_record_keeps_order_arguments_and_outcomes() {
    let target = RecordLayer::new(memory());
    target.create(&key("a"), bytes("123")).await.unwrap();
    target.get_range(&key("b"), 5, 6).await.unwrap_err();
    let prefix = KeyPrefix::parse("a").unwrap();
    let listing = target.list(&prefix);
    let log = target.take();
    let put = Call::Put { key: key("a"), mode: PutMode::Create, bytes: Some(3) };
    let get = Call::Get { key: key("b"), range: ByteRange::From { offset: 5, length: 6 } };
    assert_eq!(log.len(), 3);
    assert_eq!(log[0], Recorded { call: put, outcome: Outcome::Done });
    assert_eq!(log[1], Recorded { call: get, outcome: Outcome::Failed(TargetErrorKind::NotFound) });
    assert_eq!(log[2], Recorded { call: Call::List(prefix), outcome: Outcome::Pending });
    assert_eq!((log[2].call.place(), log[2].call.operation()), ("a", Operation::List));
    target.capabilities().await.unwrap();
    assert_eq!(listing.count().await, 0);
    assert_eq!(target.log()[0].outcome, Outcome::Done, "an earlier call keeps to its own line");
}

#[tokio::test]
async fn faults_strike_where_and_when_they_are_told() {
    let clock = Arc::new(FastClock::default());
    let target = FaultLayer::new(memory(), clock.clone());
    target.create(&key("a/1"), vec![0; 4]).await.unwrap();
    target.add(FaultRule::new(Operation::Get, FaultEffect::FlipBit(8 * 4 + 9)).first(1));
    target.add(FaultRule::new(Operation::Get, FaultEffect::Truncate(1)).nth(2));
    target.add(FaultRule::new(Operation::Get, FaultEffect::Delay(Duration::from_secs(3))).nth(3));
    assert_eq!(target.get_full(&key("a/1")).await.unwrap(), [0, 2, 0, 0].as_slice());
    assert_eq!(target.get_full(&key("a/1")).await.unwrap().len(), 1);
    assert_eq!(target.get_full(&key("a/1")).await.unwrap(), [0; 4].as_slice());
    assert_eq!(clock.sleeps(), [Duration::from_secs(3)]);
    let denied = FaultEffect::Fail(TargetErrorKind::Denied, When::Before);
    for pattern in [
        KeyPattern::Exact("a/1".to_owned()),
        KeyPattern::Under("a/".to_owned()),
        KeyPattern::Containing("/1".to_owned()),
    ] {
        target.add(FaultRule::new(None, denied.clone()).on(pattern).from_nth(2));
        target.head(&key("a/1")).await.unwrap();
        target.head(&key("a/1")).await.unwrap_err();
        target.create(&key("b"), bytes("x")).await.unwrap();
        target.delete(&key("b")).await.unwrap();
        target.heal();
    }
}

#[tokio::test]
async fn a_cut_off_lasts_until_healed() {
    for (when, is_applied) in [(When::Before, false), (When::After, true)] {
        let target = FaultLayer::new(memory(), Arc::new(FastClock::default()));
        target.add(FaultRule::new(Operation::Put, FaultEffect::CutOff(when)).nth(2));
        target.create(&key("a"), bytes("x")).await.unwrap();
        assert!(!target.is_cut_off());
        target.create(&key("b"), bytes("x")).await.unwrap_err();
        target.head(&key("a")).await.unwrap_err();
        target.list_all(&KeyPrefix::all()).await.unwrap_err();
        assert!(target.is_cut_off());
        target.heal();
        assert_eq!(target.exists(&key("b")).await.unwrap(), is_applied);
    }
}

#[tokio::test]
async fn the_suite_passes_through_every_layer() {
    let runtime = Runtime::system();
    let rate = NonZeroU64::new(1 << 40);
    let rates = RateLimitConfig { upload_bytes_per_second: rate, download_bytes_per_second: rate };
    let prefix = KeyPrefix::parse("some/where").unwrap();
    let all: SharedTarget = Arc::new(PrefixLayer::new(memory(), prefix));
    let all: SharedTarget = Arc::new(FaultLayer::new(all, runtime.clock.clone()));
    let all: SharedTarget = Arc::new(RecordLayer::new(all));
    let all: SharedTarget = Arc::new(RateLimitLayer::new(all, rates, runtime.clock.clone()));
    let all: SharedTarget = Arc::new(ConcurrencyLimitLayer::new(all, 2));
    let all: SharedTarget = Arc::new(RetryLayer::new(all, RetryConfig::default(), runtime.clone()));
    let all: SharedTarget = Arc::new(MetricsLayer::new(all));
    assert_eq!(all.to_string(), "memory/some/where", "display passes through");
    let options = Options {
        listed_objects: 300,
        large_object_bytes: 3 << 20,
        rounds: 3,
        ..Options::default()
    };
    let report = conformance::run(all, &runtime, &options).await;
    assert!(report.is_conformant(), "{report}");
}
