//! Object Lock: on put, longer, never shorter, and not where a folder is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::types::ObjectLockMode;
use strongroom_core::target::{BackupTarget, TargetErrorKind, TargetExt};
use strongroom_s3::S3Target;

use crate::{
    settings::plain_client,
    support::{Server, content, key, note, unique},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The retention of an object: mode, and end in milliseconds since 1970.
async fn retention(server: &Server, bucket: &str, name: &str) -> Option<(ObjectLockMode, i64)> {
    let plain = plain_client(server);
    let found = plain.head_object().bucket(bucket).key(name).send().await.unwrap();
    Some((found.object_lock_mode?, found.object_lock_retain_until_date?.to_millis().unwrap()))
}

async fn new_objects_are_locked_and_for_longer_when_asked(server: Server, large_bytes: usize) {
    let bucket = unique("lock");
    let settings = "object-lock=governance&retention-days=2&object-lock.leases=off\
                    &object-lock.vault=compliance&retention-days.vault=1";
    let config = server.config(&format!("{bucket}?{settings}"));
    let target = S3Target::create(config).await.unwrap();
    assert!(target.capabilities().await.unwrap().retention);
    let begun = now_ms();
    target.create(&key("packs/small"), b"abc".to_vec()).await.unwrap();
    target.create(&key("packs/large"), content(large_bytes, 1)).await.unwrap();
    target.create(&key("vault/x"), b"abc".to_vec()).await.unwrap();
    target.create(&key("leases/x"), b"abc".to_vec()).await.unwrap();
    for (name, mode, days) in [
        ("packs/small", ObjectLockMode::Governance, 2),
        ("packs/large", ObjectLockMode::Governance, 2),
        ("vault/x", ObjectLockMode::Compliance, 1),
    ] {
        let (found, until) = retention(&server, &bucket, name).await.unwrap();
        assert_eq!(found, mode, "{name}");
        let expected = begun + days * DAY_MS;
        assert!((until - expected).abs() < DAY_MS / 24, "{name}: {until} and not {expected}");
    }
    assert_eq!(retention(&server, &bucket, "leases/x").await, None);

    let later = begun + 10 * DAY_MS + 1;
    target.retain(&key("packs/small"), later).await.unwrap();
    let (_, until) = retention(&server, &bucket, "packs/small").await.unwrap();
    assert!(until >= later && until < later + 1000);
    target.retain(&key("packs/small"), begun + DAY_MS).await.unwrap();
    let unchanged = retention(&server, &bucket, "packs/small").await.unwrap();
    assert_eq!(unchanged, (ObjectLockMode::Governance, until), "never shorter");
    target.retain(&key("vault/x"), later).await.unwrap();
    let (mode, _) = retention(&server, &bucket, "vault/x").await.unwrap();
    assert_eq!(mode, ObjectLockMode::Compliance);
    target.retain(&key("leases/x"), later).await.unwrap();
    assert!(retention(&server, &bucket, "leases/x").await.is_some());
    let missing = target.retain(&key("packs/missing"), later).await.unwrap_err();
    assert_eq!(missing.kind(), TargetErrorKind::NotFound, "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_locked_on_the_main_server() {
    new_objects_are_locked_and_for_longer_when_asked(Server::main(), 40 << 20).await;
}

/// This server forgets the lock of a multipart upload, so the large object is none here.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_locked_as_aws_would() {
    new_objects_are_locked_and_for_longer_when_asked(Server::echo(), 1 << 20).await;
}

/// The point of it: not even who may do everything removes the version.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_version_stays() {
    let server = Server::main();
    let bucket = unique("stays");
    let config = server.config(&format!("{bucket}?object-lock=compliance&retention-days=1"));
    let target = S3Target::create(config).await.unwrap();
    target.create(&key("object"), b"abc".to_vec()).await.unwrap();
    let plain = plain_client(&server);
    let head = plain.head_object().bucket(&bucket).key("object").send().await.unwrap();
    assert_eq!(head.object_lock_mode, Some(ObjectLockMode::Compliance));
    let version = head.version_id.unwrap();
    target.delete(&key("object")).await.unwrap();
    assert!(!target.exists(&key("object")).await.unwrap(), "hidden");
    let delete = plain.delete_object().bucket(&bucket).key("object").version_id(&version);
    assert!(delete.send().await.is_err(), "and still there");
    let get = plain.get_object().bucket(&bucket).key("object").version_id(&version);
    let stored = get.send().await.unwrap().body.collect().await.unwrap();
    assert_eq!(stored.into_bytes(), b"abc".as_slice());
    note("immutability", "Object Lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_or_the_bucket_s_consent_nothing_is_locked() {
    let server = Server::main();
    let bucket = unique("free");
    let target = S3Target::create(server.config(&bucket)).await.unwrap();
    assert!(!target.capabilities().await.unwrap().retention);
    target.create(&key("object"), b"abc".to_vec()).await.unwrap();
    let error = target.retain(&key("object"), now_ms() + DAY_MS).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unsupported);
    let config = server.config(&format!("{bucket}?object-lock=governance&retention-days=1"));
    let locking = S3Target::open(config).await.unwrap();
    let error = locking.create(&key("other"), b"abc".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    assert!(error.hint_text().unwrap_or_default().contains("Object Lock"), "{error}");
}
