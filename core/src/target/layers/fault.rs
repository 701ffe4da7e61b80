//! Makes a target fail on purpose: chosen calls, chosen keys, chosen ways.
//!
//! For tests. Lost answers, delays, damage, listings that lie, and a storage that is gone from
//! some call on are told apart, because callers must treat each differently.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::{
    runtime::Clock,
    target::{
        BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Operation,
        Payload, PutMode, SharedTarget, TargetError, TargetErrorKind, TargetResult,
    },
};

/// Which keys (or, of a listing, prefixes) a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPattern {
    /// All.
    Any,
    /// This one.
    Exact(String),
    /// Those that begin with this text.
    Under(String),
    /// Those with this text anywhere.
    Containing(String),
}

impl KeyPattern {
    fn matches(&self, place: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => place == text,
            Self::Under(text) => place.starts_with(text.as_str()),
            Self::Containing(text) => place.contains(text.as_str()),
        }
    }
}

/// On which side of the call the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The storage does not see the call.
    Before,
    /// The storage does what it was asked, and its answer is lost.
    After,
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultEffect {
    /// It fails with an error of this kind, retryable as is usual for it.
    Fail(TargetErrorKind, When),
    /// It takes this much longer.
    Delay(Duration),
    /// The bit of this number, modulo the content's length, comes back flipped. For `get`.
    FlipBit(u64),
    /// Content ends after so many bytes, a listing after so many objects, without an error.
    Truncate(u64),
    /// It and every later call of any kind fail as unavailable, until [`FaultLayer::heal`].
    CutOff(When),
}

/// When to do what. Of the calls that match, the first `skip` pass and the next `times` suffer.
#[derive(Debug, Clone)]
pub struct FaultRule {
    operation: Option<Operation>,
    keys: KeyPattern,
    skip: u64,
    times: u64,
    effect: FaultEffect,
}

impl FaultRule {
    /// A rule for every call of `operation` (of any, if `None`).
    pub fn new(operation: impl Into<Option<Operation>>, effect: FaultEffect) -> Self {
        let (keys, operation) = (KeyPattern::Any, operation.into());
        Self { operation, keys, skip: 0, times: u64::MAX, effect }
    }

    /// Every call of `operation` fails before it reaches the storage.
    pub fn fail(operation: Operation, kind: TargetErrorKind) -> Self {
        Self::new(operation, FaultEffect::Fail(kind, When::Before))
    }

    /// The answer to every call of `operation` is lost after the storage did it.
    pub fn lose_answer(operation: Operation) -> Self {
        Self::new(operation, FaultEffect::Fail(TargetErrorKind::Unavailable, When::After))
    }

    /// Only keys that match `pattern`.
    #[must_use]
    pub fn on(mut self, pattern: KeyPattern) -> Self {
        self.keys = pattern;
        self
    }

    /// Only the `n`th matching call, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        (self.skip, self.times) = (n.saturating_sub(1), 1);
        self
    }

    /// Only the first `n` matching calls.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        (self.skip, self.times) = (0, n);
        self
    }

    /// From the `n`th matching call on, counted from 1.
    #[must_use]
    pub fn from_nth(mut self, n: u64) -> Self {
        (self.skip, self.times) = (n.saturating_sub(1), u64::MAX);
        self
    }

    /// Counts a call and says whether it suffers.
    fn strikes(&mut self, operation: Operation, place: &str) -> bool {
        let is_meant = self.operation.is_none_or(|meant| meant == operation);
        if !is_meant || !self.keys.matches(place) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = self.times > 0;
        self.times = self.times.saturating_sub(u64::from(self.times != u64::MAX));
        strikes
    }
}

/// Does to the calls of the wrapped target what its rules say; all rules that match take part.
#[derive(Debug)]
pub struct FaultLayer {
    inner: SharedTarget,
    clock: Arc<dyn Clock>,
    rules: Mutex<Vec<FaultRule>>,
    is_cut_off: AtomicBool,
}

/// What all rules together do to one call.
#[derive(Debug, Default)]
struct Plan {
    delay: Duration,
    fail_before: Option<TargetErrorKind>,
    fail_after: Option<TargetErrorKind>,
    flips: Vec<u64>,
    length_max: Option<u64>,
}

impl FaultLayer {
    /// No faults yet; `clock` is what delays wait by.
    pub fn new(inner: SharedTarget, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, rules: Mutex::default(), is_cut_off: AtomicBool::new(false) }
    }

    /// Adds a rule that counts calls from now on.
    pub fn add(&self, rule: FaultRule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Drops all rules and ends a cut-off.
    pub fn heal(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_cut_off.store(false, Ordering::SeqCst);
    }

    /// Whether a [`FaultEffect::CutOff`] has struck.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::SeqCst)
    }

    fn plan(&self, operation: Operation, place: &str) -> Plan {
        let mut plan = Plan::default();
        if self.is_cut_off() {
            plan.fail_before = Some(TargetErrorKind::Unavailable);
            return plan;
        }
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        for rule in rules
            .iter_mut()
            .filter_map(|rule| rule.strikes(operation, place).then_some(&rule.effect))
        {
            self.include(rule, &mut plan);
        }
        plan
    }

    fn include(&self, effect: &FaultEffect, plan: &mut Plan) {
        let (kind, when) = match *effect {
            FaultEffect::Delay(wait) => return plan.delay = plan.delay.saturating_add(wait),
            FaultEffect::FlipBit(bit) => return plan.flips.push(bit),
            FaultEffect::Truncate(length) => {
                let shorter = plan.length_max.map_or(length, |other| other.min(length));
                return plan.length_max = Some(shorter);
            }
            FaultEffect::Fail(kind, when) => (kind, when),
            FaultEffect::CutOff(when) => {
                self.is_cut_off.store(true, Ordering::SeqCst);
                (TargetErrorKind::Unavailable, when)
            }
        };
        match when {
            When::Before => plan.fail_before = Some(kind),
            When::After => plan.fail_after = Some(kind),
        }
    }

    /// Delays the call, or fails it before the storage sees it.
    async fn before(&self, operation: Operation, place: &str, plan: &Plan) -> TargetResult<()> {
        if !plan.delay.is_zero() {
            self.clock.sleep(plan.delay).await;
        }
        fail(plan.fail_before, operation, place)
    }
}

fn fail(kind: Option<TargetErrorKind>, operation: Operation, place: &str) -> TargetResult<()> {
    match kind {
        Some(kind) => Err(TargetError::new(kind, operation, "made to fail").at(place)),
        None => Ok(()),
    }
}

fn damaged(content: Bytes, plan: &Plan) -> Bytes {
    let length = plan.length_max.map_or(content.len() as u64, |max| max.min(content.len() as u64));
    let kept = content.slice(..length as usize);
    if plan.flips.is_empty() || kept.is_empty() {
        return kept;
    }
    let mut altered = BytesMut::from(&kept[..]);
    for flip in &plan.flips {
        let bit = flip % (length * 8);
        altered[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
    altered.freeze()
}

impl fmt::Display for FaultLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for FaultLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let plan = self.plan(Operation::Put, key.as_str());
        self.before(Operation::Put, key.as_str(), &plan).await?;
        self.inner.put(key, payload, mode).await?;
        fail(plan.fail_after, Operation::Put, key.as_str())
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let plan = self.plan(Operation::Get, key.as_str());
        self.before(Operation::Get, key.as_str(), &plan).await?;
        let content = self.inner.get(key, range).await?;
        fail(plan.fail_after, Operation::Get, key.as_str())?;
        Ok(damaged(content, &plan))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let plan = self.plan(Operation::Head, key.as_str());
        self.before(Operation::Head, key.as_str(), &plan).await?;
        let object = self.inner.head(key).await?;
        fail(plan.fail_after, Operation::Head, key.as_str())?;
        Ok(object)
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let plan = self.plan(Operation::List, prefix.as_str());
        let objects = self.inner.list(prefix);
        let prefix = prefix.clone();
        let listing = async move {
            if let Err(error) = self.before(Operation::List, prefix.as_str(), &plan).await {
                return stream::iter([Err(error)]).boxed();
            }
            let length_max = plan.length_max.map_or(usize::MAX, |max| max as usize);
            let end = fail(plan.fail_after, Operation::List, prefix.as_str()).err();
            objects.take(length_max).chain(stream::iter(end.map(Err))).boxed()
        };
        stream::once(listing).flatten().boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let plan = self.plan(Operation::Delete, key.as_str());
        self.before(Operation::Delete, key.as_str(), &plan).await?;
        self.inner.delete(key).await?;
        fail(plan.fail_after, Operation::Delete, key.as_str())
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let plan = self.plan(Operation::Capabilities, "");
        self.before(Operation::Capabilities, "", &plan).await?;
        let capabilities = self.inner.capabilities().await?;
        fail(plan.fail_after, Operation::Capabilities, "")?;
        Ok(capabilities)
    }

    /// One by one, so that rules about deletes hit single keys of a batch.
    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let mut outcome = Ok(());
        for key in keys {
            outcome = outcome.and(self.delete(key).await);
        }
        outcome
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        let plan = self.plan(Operation::Retain, key.as_str());
        self.before(Operation::Retain, key.as_str(), &plan).await?;
        self.inner.retain(key, until_ms).await?;
        fail(plan.fail_after, Operation::Retain, key.as_str())
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
