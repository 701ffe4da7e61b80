//! What Azurite cannot do or does not do on demand: retention, tiers as they are sent, damaged
//! and odd answers.

use std::time::Duration;

use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;
use strongroom_core::target::{
    BackupTarget, ByteRange, KeyPrefix, Payload, PutMode, TargetErrorKind, TargetExt,
};

use crate::{
    front::{Action, Front},
    support::{Emulator, key},
};

const EMPTY_LIST: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
    <EnumerationResults ServiceEndpoint=\"x\" ContainerName=\"c\"><Blobs></Blobs><NextMarker />\
    </EnumerationResults>";

fn ok(status: u16, headers: &str) -> Action {
    Action::Answer(status, headers.into(), Vec::new())
}

fn refused(status: u16, code: &str) -> Action {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    Action::Answer(status, format!("x-ms-error-code: {code}\r\n"), body.into_bytes())
}

/// A target whose server gives `answers`, after the one to opening.
async fn target(settings: &str, answers: Vec<Action>) -> (Front, AzureTarget) {
    let listing = Action::Answer(200, String::new(), EMPTY_LIST.into());
    let front = Front::answering([vec![listing], answers].concat()).await;
    let url = format!("az://vault/b?account=acct&endpoint=http://{}/acct{settings}", front.address);
    let environment =
        Environment::new(|name| (name == "AZURE_STORAGE_KEY").then(|| "a2V5".to_owned()));
    let config = AzureConfig::from_url(&url, &environment).unwrap();
    let target = AzureTarget::open(config).await.unwrap();
    (front, target)
}

#[tokio::test]
async fn tier_sum_condition_and_protection_are_sent_with_a_put() {
    let settings = "&tier=Hot&tier.packs=Cold&retention-days=30&immutability=locked";
    let (front, target) = target(settings, vec![ok(201, "")]).await;
    target.create(&key("packs/x"), b"hello".to_vec()).await.unwrap();
    target.replace(&key("snapshots/x"), b"hello".to_vec()).await.unwrap();
    let seen = front.seen();
    let [_, create, replace] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((create.method.as_str(), create.target.as_str()), ("PUT", "/acct/vault/b/packs/x"));
    assert_eq!(create.body, b"hello");
    assert_eq!(create.header("x-ms-blob-type"), Some("BlockBlob"));
    assert_eq!(create.header("if-none-match"), Some("*"));
    assert_eq!(create.header("content-md5"), Some("XUFAKrxLKna5cZ2REBfFkg=="));
    assert_eq!(create.header("x-ms-access-tier"), Some("Cold"));
    assert_eq!(create.header("x-ms-immutability-policy-mode"), Some("locked"));
    assert!(create.header("x-ms-immutability-policy-until-date").unwrap().ends_with(" GMT"));
    assert!(create.header("authorization").unwrap().starts_with("SharedKey acct:"));
    assert_eq!(replace.header("if-none-match"), None);
    assert_eq!(replace.header("x-ms-access-tier"), Some("Hot"));
}

#[tokio::test]
async fn blocks_carry_sums_and_the_commit_carries_the_rest() {
    let settings = "&tier=Cool&retention-days=1";
    let (front, target) = target(settings, vec![ok(201, "")]).await;
    let stream = Payload::from(b"hello".to_vec()).into_stream();
    target.put(&key("a"), Payload::Streamed(stream), PutMode::Create).await.unwrap();
    let seen = front.seen();
    let [_, block, commit] = &seen[..] else { panic!("{seen:?}") };
    assert!(block.target.starts_with("/acct/vault/b/a?blockid="), "{block:?}");
    assert!(block.target.ends_with("&comp=block"), "{block:?}");
    assert_eq!(block.header("content-md5"), Some("XUFAKrxLKna5cZ2REBfFkg=="));
    assert_eq!(commit.target, "/acct/vault/b/a?comp=blocklist");
    assert_eq!(commit.header("if-none-match"), Some("*"));
    assert_eq!(commit.header("x-ms-access-tier"), Some("Cool"));
    assert_eq!(commit.header("x-ms-immutability-policy-mode"), Some("unlocked"));
}

#[tokio::test]
async fn retention_is_set_and_extended_but_never_shortened() {
    const UNTIL: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
    const UNTIL_MS: i64 = 4_102_444_800_000;
    let protected = format!(
        "x-ms-immutability-policy-until-date: {UNTIL}\r\nx-ms-immutability-policy-mode: locked\r\n"
    );
    let answers =
        vec![ok(200, ""), ok(200, ""), ok(200, &protected), ok(200, &protected), ok(200, "")];
    let (front, target) = target("&immutability=unlocked", answers).await;
    assert!(target.capabilities().await.unwrap().retention);
    target.retain(&key("a"), UNTIL_MS).await.unwrap();
    target.retain(&key("a"), UNTIL_MS - 1000).await.unwrap();
    target.retain(&key("a"), UNTIL_MS + 1).await.unwrap();
    let seen = front.seen();
    let methods: Vec<_> = seen[1..].iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["HEAD", "PUT", "HEAD", "HEAD", "PUT"]);
    assert_eq!(seen[2].target, "/acct/vault/b/a?comp=immutabilityPolicies");
    assert_eq!(seen[2].header("x-ms-immutability-policy-until-date"), Some(UNTIL));
    assert_eq!(seen[2].header("x-ms-immutability-policy-mode"), Some("unlocked"));
    let extended = "Fri, 01 Jan 2100 00:00:01 GMT";
    assert_eq!(seen[5].header("x-ms-immutability-policy-until-date"), Some(extended));
    assert_eq!(seen[5].header("x-ms-immutability-policy-mode"), Some("locked"));
    crate::support::note("immutability", "wire form only");
}

#[tokio::test]
async fn retention_that_the_server_cannot_do_is_unsupported() {
    let target = Emulator::shared().target("retain").await;
    target.create(&key("a"), vec![1]).await.unwrap();
    let error = target.retain(&key("a"), 4_102_444_800_000).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unsupported, "{error}");
    let missing = target.retain(&key("b"), 4_102_444_800_000).await.unwrap_err();
    assert_eq!(missing.kind(), TargetErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn answers_that_mean_no_are_understood() {
    use TargetErrorKind as Kind;
    for (answer, kind, is_retryable) in [
        (refused(403, "AuthorizationPermissionMismatch"), Kind::Denied, false),
        (refused(404, "ContainerNotFound"), Kind::NotFound, false),
        (refused(409, "ContainerBeingDeleted"), Kind::Unavailable, true),
        (refused(409, "BlobArchived"), Kind::Unavailable, false),
        (refused(500, "InternalError"), Kind::Unavailable, true),
        (ok(503, "retry-after: 7\r\n"), Kind::Throttled, true),
        (ok(502, ""), Kind::Unavailable, true),
        (Action::Drop, Kind::Unavailable, true),
    ] {
        let (front, target) = target("", vec![answer.clone()]).await;
        let error = target.get_full(&key("a")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{answer:?}");
        assert_eq!(error.key(), Some("a"));
        assert_eq!(front.seen().len(), 2, "nothing is repeated behind the caller's back");
        if kind == Kind::Throttled {
            assert_eq!(error.wait_asked(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn what_is_short_or_damaged_is_never_given_out() {
    let head = "Content-Range: bytes 0-4/5\r\n";
    let sum = "x-ms-blob-content-md5: XUFAKrxLKna5cZ2REBfFkg==\r\n";
    let short = Action::Short(206, head.into(), b"hel".to_vec(), 5);
    let lying = Action::Answer(206, head.into(), b"hel".to_vec());
    let damaged = Action::Answer(206, format!("{head}{sum}"), b"hellO".to_vec());
    let nothing_said = Action::Answer(200, "<html>\r\n".into(), b"<html>".to_vec());
    for (answer, kind) in [
        (short, TargetErrorKind::Unavailable),
        (lying, TargetErrorKind::Unavailable),
        (damaged, TargetErrorKind::Corrupt),
    ] {
        let (_front, target) = target("", vec![answer.clone()]).await;
        let error = target.get_full(&key("a")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{answer:?}: {error}");
    }
    let (_front, target) = target("", vec![nothing_said]).await;
    let error = target.list_all(&KeyPrefix::all()).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn reads_take_one_request_each() {
    let target = Emulator::shared().target("requests").await;
    target.create(&key("a"), vec![9; 100]).await.unwrap();
    target.create(&key("empty"), Vec::<u8>::new()).await.unwrap();
    let count = || target.requests_sent().unwrap();
    let before = count();
    assert_eq!(target.get_full(&key("a")).await.unwrap().len(), 100);
    assert_eq!(count() - before, 1);
    assert_eq!(target.get_range(&key("a"), 90, 20).await.unwrap().len(), 10);
    assert_eq!(count() - before, 2);
    for offset in [100, 101, u64::MAX] {
        assert!(target.get_range(&key("a"), offset, 5).await.unwrap().is_empty());
    }
    assert_eq!(count() - before, 5);
    assert!(target.get_full(&key("empty")).await.unwrap().is_empty());
    let none = ByteRange::From { offset: 3, length: 0 };
    assert!(target.get(&key("a"), none).await.unwrap().is_empty());
    let missing = target.get(&key("b"), none).await.unwrap_err();
    assert_eq!(missing.kind(), TargetErrorKind::NotFound);
}

#[tokio::test]
async fn where_batches_are_refused_objects_are_deleted_singly_from_then_on() {
    let answers = vec![refused(500, "InternalError"), ok(202, "")];
    let (front, target) = target("", answers).await;
    assert_eq!(target.capabilities().await.unwrap().delete_batch_max, 256);
    let keys = [key("a"), key("b"), key("c")];
    target.delete_batch(&keys).await.unwrap();
    target.delete_batch(&keys).await.unwrap();
    let methods: Vec<_> = front.seen()[1..].iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, ["POST", "DELETE", "DELETE", "DELETE", "DELETE", "DELETE", "DELETE"]);
    assert_eq!(target.capabilities().await.unwrap().delete_batch_max, 1);
}

#[tokio::test]
async fn a_batch_signs_every_part_and_what_it_does_not_confirm_is_deleted_singly() {
    let part =
        |place, status| format!("--x\r\nContent-ID: {place}\r\n\r\nHTTP/1.1 {status} x\r\n\r\n");
    let body = [part(0, 202), part(1, 503), "--x--".to_owned()].concat().into_bytes();
    let headers = "content-type: multipart/mixed; boundary=x\r\n".to_owned();
    let answers = vec![Action::Answer(202, headers, body), ok(202, "")];
    let (front, target) = target("", answers).await;
    target.delete_batch(&[key("a"), key("b")]).await.unwrap();
    let seen = front.seen();
    let [_, batch, single] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(batch.target, "/acct/vault?restype=container&comp=batch");
    let sent = String::from_utf8(batch.body.clone()).unwrap();
    assert_eq!(sent.matches("SharedKey acct:").count(), 2);
    assert!(sent.contains("DELETE /acct/vault/b/a HTTP/1.1\r\n"), "{sent}");
    assert!(!sent.contains("x-ms-version"), "the service refuses it in a part");
    assert_eq!((single.method.as_str(), single.target.as_str()), ("DELETE", "/acct/vault/b/b"));
}

fn page(names: &[&str], next: &str) -> Action {
    let blob = |name: &&str| {
        format!(
            "<Blob><Name>{name}</Name><Properties>\
             <Last-Modified>Thu, 01 Jan 1970 00:00:02 GMT</Last-Modified>\
             <Content-Length>7</Content-Length><BlobType>BlockBlob</BlobType>\
             </Properties></Blob>"
        )
    };
    let blobs: String = names.iter().map(blob).collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"c\">\
         <Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    Action::Answer(200, "content-type: application/xml\r\n".into(), body.into_bytes())
}

#[tokio::test]
async fn a_listing_goes_on_from_page_to_page_and_over_a_failed_one() {
    let answers = vec![
        page(&["b/x/1", "b/x/NOT-A-KEY", "b/x/2"], "m1"),
        page(&[], "m2"),
        refused(500, "InternalError"),
        page(&["b/x/3", "elsewhere/x/4"], ""),
    ];
    let (front, target) = target("", answers).await;
    let listed = target.list_all(&KeyPrefix::parse("x").unwrap()).await.unwrap();
    let found: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(found, ["x/1", "x/2", "x/3"]);
    assert!(listed.iter().all(|object| object.size_bytes == 7));
    assert!(listed.iter().all(|object| object.modified_ms == Some(2000)));
    let seen = front.seen();
    let has = |seen: &crate::front::Seen, text| seen.target.contains(text);
    assert!(seen[1..].iter().all(|seen| has(seen, "prefix=b%2Fx%2F")), "{seen:?}");
    assert!(!has(&seen[1], "marker="), "{seen:?}");
    assert!(has(&seen[2], "marker=m1") && has(&seen[3], "marker=m2") && has(&seen[4], "marker=m2"));
    assert_eq!(seen.len(), 5);
}
