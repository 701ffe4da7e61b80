//! The suite passes good targets and catches bad ones.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};

use super::*;
use crate::target::{
    BackupTarget, ByteRange, Capabilities, MemoryTarget, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetErrorKind, TargetResult,
    layers::{FaultEffect, FaultLayer, FaultRule, PrefixLayer, When},
};

fn quick() -> Options {
    Options { listed_objects: 300, large_object_bytes: 3 << 20, rounds: 3, ..Options::default() }
}

fn memory() -> SharedTarget {
    Arc::new(MemoryTarget::new())
}

#[tokio::test]
async fn the_reference_passes_every_check_and_is_left_empty() {
    let target = memory();
    let options = Options { scratch: KeyPrefix::parse("scratch/here").unwrap(), ..quick() };
    let report = run(target.clone(), &Runtime::system(), &options).await;
    assert!(report.is_conformant(), "{report}");
    assert!(report.checks.iter().all(|check| check.outcome == CheckOutcome::Pass), "{report}");
    assert!(report.scratch.starts_with("scratch/here/conformance-"));
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_report_prints_and_serialises() {
    let faulty = FaultLayer::new(memory(), Runtime::system().clock);
    faulty.add(FaultRule::fail(Operation::Capabilities, TargetErrorKind::Denied).first(1));
    let report = run(Arc::new(faulty), &Runtime::system(), &quick()).await;
    let text = report.to_string();
    assert!(text.contains("FAIL capabilities"), "{text}");
    assert!(text.ends_with("memory: 1 of 20 checks failed"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checks"][0]["outcome"], "fail");
    assert_eq!(json["checks"][1]["outcome"], "pass");
}

#[tokio::test]
async fn a_scratch_prefix_without_room_is_reported() {
    let scratch = KeyPrefix::parse(&["s"; 254].join("/")).unwrap();
    let report = run(memory(), &Runtime::system(), &Options { scratch, ..quick() }).await;
    assert!(!report.is_conformant(), "{report}");
}

/// A memory target with one of the faults that real storages have.
#[derive(Debug)]
struct Lying {
    inner: MemoryTarget,
    lie: Lie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    IgnoresCreate,
    ChecksThenWrites,
    ShowsHalves,
    ListsByText,
    ListsTwice,
    ListsTooLittle,
    KeepsDeleted,
    RangesFromStart,
    Panics,
}

impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lie)
    }
}

#[async_trait]
impl BackupTarget for Lying {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        match self.lie {
            Lie::IgnoresCreate => self.inner.put(key, payload, PutMode::Replace).await,
            Lie::ChecksThenWrites if mode == PutMode::Create => {
                if self.inner.exists(key).await? {
                    return self.inner.put(key, payload, mode).await;
                }
                Runtime::system().clock.sleep(std::time::Duration::from_millis(1)).await;
                self.inner.put(key, payload, PutMode::Replace).await
            }
            Lie::ShowsHalves => {
                let mut so_far = Vec::new();
                let mut stream = payload.into_stream();
                self.inner.put(key, so_far.clone().into(), mode).await?;
                while let Some(part) = stream.next().await {
                    so_far.extend_from_slice(&part?);
                    self.inner.replace(key, so_far.clone()).await?;
                }
                Ok(())
            }
            Lie::Panics if key.name() == "ranges" => panic!("out of range"),
            _ => self.inner.put(key, payload, mode).await,
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        match (self.lie, range) {
            (Lie::RangesFromStart, ByteRange::From { offset, length }) => {
                let end = ByteRange::From { offset: 0, length: offset.saturating_add(length) };
                self.inner.get(key, end).await
            }
            _ => self.inner.get(key, range).await,
        }
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.inner.head(key).await
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        match self.lie {
            Lie::ListsByText => {
                let text = prefix.as_str().to_owned();
                let all = self.inner.list(&KeyPrefix::all());
                let matches = move |key: &ObjectKey| key.as_str().starts_with(&text);
                all.filter(move |object| {
                    let is_match = object.as_ref().is_ok_and(|object| matches(&object.key));
                    async move { is_match }
                })
                .boxed()
            }
            Lie::ListsTwice => self.inner.list(prefix).chain(self.inner.list(prefix)).boxed(),
            Lie::ListsTooLittle => self.inner.list(prefix).take(250).boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        if self.lie == Lie::KeepsDeleted { Ok(()) } else { self.inner.delete(key).await }
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }
}

async fn failures_of(lie: Lie) -> Vec<&'static str> {
    let target = Arc::new(Lying { inner: MemoryTarget::new(), lie });
    let report = run(target, &Runtime::system(), &quick()).await;
    report.failures().map(|check| check.name).collect()
}

#[tokio::test]
async fn every_lie_is_caught_by_the_check_that_names_it() {
    for (lie, check) in [
        (Lie::IgnoresCreate, "create-existing"),
        (Lie::IgnoresCreate, "create-race"),
        (Lie::ChecksThenWrites, "create-race"),
        (Lie::ShowsHalves, "streamed-object"),
        (Lie::ShowsHalves, "failing-stream"),
        (Lie::ListsByText, "list-prefix"),
        (Lie::ListsTwice, "list-complete"),
        (Lie::ListsTooLittle, "list-complete"),
        (Lie::KeepsDeleted, "delete"),
        (Lie::KeepsDeleted, "clean-up"),
        (Lie::RangesFromStart, "ranges"),
        (Lie::Panics, "ranges"),
    ] {
        let failed = failures_of(lie).await;
        assert!(failed.contains(&check), "{lie:?} failed only {failed:?}");
    }
    assert_eq!(failures_of(Lie::ChecksThenWrites).await, ["create-race"]);
    assert_eq!(failures_of(Lie::Panics).await, ["ranges"]);
}

#[tokio::test]
async fn damage_and_outage_are_reported_not_suffered() {
    for effect in [
        FaultEffect::FlipBit(77),
        FaultEffect::Truncate(5),
        FaultEffect::CutOff(When::Before),
        FaultEffect::CutOff(When::After),
    ] {
        let faulty = FaultLayer::new(memory(), Runtime::system().clock);
        faulty.add(FaultRule::new(Operation::Get, effect).from_nth(30));
        let report = run(Arc::new(faulty), &Runtime::system(), &quick()).await;
        assert!(!report.is_conformant());
    }
}

#[tokio::test]
async fn the_suite_stays_inside_its_scratch_prefix() {
    let target = memory();
    let outside = ObjectKey::parse("config").unwrap();
    target.create(&outside, vec![1]).await.unwrap();
    let part: SharedTarget =
        Arc::new(PrefixLayer::new(target.clone(), KeyPrefix::parse("part").unwrap()));
    let report = run(part, &Runtime::system(), &quick()).await;
    assert!(report.is_conformant(), "{report}");
    let left = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(left.iter().map(|object| &object.key).collect::<Vec<_>>(), [&outside]);
}
