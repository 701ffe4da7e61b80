//! A repository with parity survives the loss of any one object that is small, and any damage to
//! packs that parity covers.

use std::sync::Arc;

use crate::{
    error::ErrorKind,
    monitor::SilentMonitor,
    repository::{Credential, Repository},
    restore::{RestoreOptions, restore},
    source::Sink,
    target::{
        BackupTarget, KeyPrefix, ObjectKey, SharedTarget, TargetExt,
        layers::{ParityLayer, ScrubOptions},
    },
    testing::{
        MemorySource,
        sink::MemorySink,
        world::{World, noise, password},
    },
    verify::{ReadData, VerifyOptions, VerifyReport, verify},
};

async fn world() -> World {
    let world = World::with_parity(Some(true)).await;
    assert!(world.repository.settings().has_parity);
    let source = Arc::new(MemorySource::default());
    source.put("a/small", b"hello".to_vec());
    source.put("a/large", noise(1, 900_000));
    world.backup(&source).await;
    source.put("b", noise(2, 600_000));
    world.backup(&source).await;
    world
}

async fn keys(target: &SharedTarget, below: &[&str]) -> Vec<ObjectKey> {
    let all = target.list_all(&KeyPrefix::all()).await.unwrap().into_iter();
    all.map(|object| object.key)
        .filter(|key| below.iter().any(|below| key.as_str().starts_with(below)))
        .collect()
}

async fn small(target: &SharedTarget) -> Vec<ObjectKey> {
    let mut keys = keys(target, &["repository", "meta/"]).await;
    keys.retain(|key| !key.as_str().starts_with("meta/sessions"));
    keys
}

async fn open(world: &World) -> Repository {
    world.reopen(world.target.clone()).await.repository
}

async fn prove(repository: &Repository) -> VerifyReport {
    let options =
        VerifyOptions { read_data: ReadData::All, workers: 2, ..VerifyOptions::default() };
    verify(repository, &options, Arc::new(SilentMonitor)).await.unwrap()
}

/// The content of the newest snapshot's large files.
async fn read_back(repository: &Repository) -> Vec<(String, Vec<u8>)> {
    let newest = repository.snapshots().await.unwrap().snapshots.pop().unwrap();
    let sink = MemorySink::new();
    let (options, monitor) = (RestoreOptions::default(), Arc::new(SilentMonitor));
    let place = Arc::new(sink.clone());
    let report = restore(repository, &newest, place, &options, monitor).await.unwrap();
    assert_eq!(report.problem_count, 0);
    assert!(sink.exists());
    sink.see().into_iter().map(|(path, seen)| (format!("{path:?}"), seen.content())).collect()
}

async fn flip(target: &SharedTarget, key: &ObjectKey, bit: usize) {
    let mut bytes = target.get_full(key).await.unwrap().to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    target.replace(key, bytes).await.unwrap();
}

fn layer(world: &World) -> &Arc<ParityLayer> {
    world.repository.parity().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_and_reads_without_any_one_small_object() {
    let world = world().await;
    let expected = read_back(&open(&world).await).await;
    for key in small(&world.target).await {
        let before = world.target.get_full(&key).await.unwrap();
        world.target.delete(&key).await.unwrap();
        let repository = open(&world).await;
        assert_eq!(read_back(&repository).await, expected, "without {key}");
        let report = prove(&repository).await;
        assert!(report.damage.is_empty(), "without {key}: {:?}", report.damage);
        assert_eq!(world.target.get_full(&key).await.unwrap(), before, "{key} is back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_stays_wrong_and_nothing_stays_nothing() {
    let world = world().await;
    let wrong = Credential::Password(zeroize::Zeroizing::new(b"other".to_vec()));
    let runtime = world.repository.runtime().clone();
    let error = Repository::open(world.target.clone(), runtime.clone(), &wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    let empty: SharedTarget = Arc::new(crate::target::MemoryTarget::new());
    let credential = Credential::Password(password());
    let error = Repository::open(empty, runtime, &credential).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRepository);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_of_every_small_object_and_copy_heals() {
    let world = world().await;
    let mut victims = small(&world.target).await;
    victims.extend(keys(&world.target, &["copies/"]).await);
    assert!(victims.len() > 15, "{victims:?}");
    let options = ScrubOptions { only_small: true, ..ScrubOptions::default() };
    let mut flips = 0;
    for key in victims {
        let before = world.target.get_full(&key).await.unwrap();
        let object = key.as_str().trim_start_matches("copies/1/").trim_start_matches("copies/2/");
        let object = ObjectKey::parse(object).unwrap();
        for bit in 0..before.len() * 8 {
            flip(&world.target, &key, bit).await;
            layer(&world).heal_object(&object).await.unwrap();
            assert_eq!(world.target.get_full(&key).await.unwrap(), before, "bit {bit} of {key}");
            flips += 1;
        }
        flip(&world.target, &key, before.len() * 4).await;
        let report = layer(&world).scrub(options, &SilentMonitor).await.unwrap();
        assert_eq!([report.healed, report.completed].concat(), [object.to_string()]);
        assert_eq!(world.target.get_full(&key).await.unwrap(), before);
    }
    assert!(flips > 10_000, "{flips}");
    assert!(prove(&open(&world).await).await.damage.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_in_packs_heal_while_they_are_read() {
    let world = world().await;
    let expected = read_back(&open(&world).await).await;
    for key in keys(&world.target, &["packs/"]).await {
        let before = world.target.get_full(&key).await.unwrap();
        for part in [0, 1, 2, 3, 4, 5] {
            flip(&world.target, &key, (before.len() * 8 - 1) * part / 5).await;
            let repository = open(&world).await;
            assert_eq!(read_back(&repository).await, expected);
            // what a restore does not read, a verification does
            assert!(prove(&repository).await.damage.is_empty());
            assert_eq!(world.target.get_full(&key).await.unwrap(), before, "{key}");
            let healed = repository.parity().unwrap().healed();
            assert_eq!(healed, std::slice::from_ref(&key));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reports_what_it_healed() {
    let world = world().await;
    let packs = keys(&world.target, &["packs/"]).await;
    let commits = keys(&world.target, &["meta/snapshots/"]).await;
    flip(&world.target, &packs[0], 90_000).await;
    flip(&world.target, &commits[0], 900).await;
    let longer = [&world.target.get_full(&packs[1]).await.unwrap()[..], b"x"].concat();
    world.target.replace(&packs[1], longer).await.unwrap();
    let report = prove(&open(&world).await).await;
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    let mut expected = [&commits[0], &packs[0], &packs[1]].map(ToString::to_string);
    expected.sort();
    assert_eq!(report.healed, expected);
    assert_eq!(prove(&open(&world).await).await.healed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_flips_in_packs_heal() {
    let world = world().await;
    let packs = keys(&world.target, &["packs/"]).await;
    let mut draws = blake3::Hasher::new().update(b"flips").finalize_xof();
    let mut draw = || {
        let mut bytes = [0; 8];
        draws.fill(&mut bytes);
        u64::from_le_bytes(bytes) as usize
    };
    let mut healed = 0;
    for _ in 0..2_000 {
        let key = &packs[draw() % packs.len()];
        let before = world.target.get_full(key).await.unwrap();
        flip(&world.target, key, draw() % (before.len() * 8)).await;
        layer(&world).heal_object(key).await.unwrap();
        healed += u32::from(world.target.get_full(key).await.unwrap() == before);
    }
    assert!(healed >= 1_980, "{healed} of 2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_parity_nothing_stands_beside() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    source.put("a", b"hello".to_vec());
    world.backup(&source).await;
    assert!(keys(&world.target, &["copies/", "parity/"]).await.is_empty());
    assert!(open(&world).await.parity().is_none());
}
