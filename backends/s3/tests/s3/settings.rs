//! What a URL asks for arrives at the storage; the servers tell by repeating it.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    operation::head_object::HeadObjectOutput,
    types::{ServerSideEncryption, StorageClass},
};
use strongroom_core::target::{KeyPrefix, TargetErrorKind, TargetExt};
use strongroom_s3::S3Target;

use crate::support::{Server, content, key, unique};

/// A client that knows nothing of our code.
pub fn plain_client(server: &Server) -> Client {
    let (access, secret) = (&server.access_key, &server.secret_key);
    let settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&server.endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new(access, secret, None, None, "test"));
    Client::from_conf(settings.build())
}

async fn head(server: &Server, bucket: &str, name: &str) -> HeadObjectOutput {
    plain_client(server).head_object().bucket(bucket).key(name).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_classes_differ_by_folder() {
    let server = Server::echo();
    let bucket = unique("class");
    let place = format!("{bucket}/x?storage-class=STANDARD_IA&storage-class.packs=GLACIER_IR");
    let target = S3Target::create(server.config(&place)).await.unwrap();
    target.create(&key("packs/1"), vec![1]).await.unwrap();
    target.create(&key("packs/2"), content(40 << 20, 1)).await.unwrap();
    target.create(&key("index/1"), vec![1]).await.unwrap();
    for (name, class) in [
        ("x/packs/1", StorageClass::GlacierIr),
        ("x/packs/2", StorageClass::GlacierIr),
        ("x/index/1", StorageClass::StandardIa),
    ] {
        assert_eq!(head(&server, &bucket, name).await.storage_class, Some(class), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_by_the_storage_is_asked_for() {
    let server = Server::echo();
    let key_id = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    for (settings, encryption, id) in [
        ("sse=AES256".to_owned(), ServerSideEncryption::Aes256, None),
        (
            format!("sse=aws:kms&sse-kms-key-id={key_id}"),
            ServerSideEncryption::AwsKms,
            Some(key_id),
        ),
    ] {
        let bucket = unique("sse");
        let config = server.config(&format!("{bucket}?{settings}"));
        let target = S3Target::create(config).await.unwrap();
        target.create(&key("small"), vec![1]).await.unwrap();
        target.create(&key("large"), content(40 << 20, 1)).await.unwrap();
        for name in ["small", "large"] {
            let stored = head(&server, &bucket, name).await;
            assert_eq!(stored.server_side_encryption, Some(encryption.clone()), "{name}");
            assert_eq!(stored.ssekms_key_id.as_deref(), id, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_under_a_key_of_ours_cannot_be_read_without_it() {
    let server = Server::main();
    let place = format!("strongroom-tests/{}", unique("ssec"));
    let with_key = |key: &str| server.clone().with("STRONGROOM_S3_SSE_C_KEY", key);
    let right = with_key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let wrong = with_key("ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=");
    let settings = format!("{place}?sse-c");
    let target = S3Target::create(right.config(&settings)).await.unwrap();
    let bytes = content(40 << 20, 2);
    target.create(&key("small"), b"abc".to_vec()).await.unwrap();
    target.create(&key("large"), bytes.clone()).await.unwrap();
    assert_eq!(target.get_range(&key("small"), 1, 9).await.unwrap(), b"bc".as_slice());
    assert!(target.get_full(&key("large")).await.unwrap() == bytes);
    for other in [wrong.config(&settings), server.config(&place)] {
        let other = S3Target::open(other).await.unwrap();
        let error = other.get_full(&key("small")).await.unwrap_err();
        assert!(
            matches!(error.kind(), TargetErrorKind::Denied | TargetErrorKind::Invalid),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_may_hold_what_keys_may_not() {
    let server = Server::main();
    let path = format!("Mein%20Backup+1/%C3%A4/{}", unique("p"));
    let target =
        S3Target::create(server.config(&format!("strongroom-tests/{path}"))).await.unwrap();
    target.create(&key("a/b"), b"abc".to_vec()).await.unwrap();
    let listed = target.list_all(&KeyPrefix::parse("a").unwrap()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].key.as_str(), listed[0].size_bytes), ("a/b", 3));
    assert!(listed[0].modified_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_other_programs_are_left_out() {
    let server = Server::main();
    let path = unique("foreign");
    let place = format!("strongroom-tests/{path}");
    let target = S3Target::create(server.config(&place)).await.unwrap();
    target.create(&key("mine"), b"abc".to_vec()).await.unwrap();
    let plain = plain_client(&server);
    for name in ["Upper", ".hidden", "white space", "folder/"] {
        let name = format!("{path}/{name}");
        plain.put_object().bucket("strongroom-tests").key(name).send().await.unwrap();
    }
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_arrive_and_are_left_out_where_asked() {
    let server = Server::main();
    for (settings, is_kept) in [("", true), ("checksums=when-required", false)] {
        let path = unique("sum");
        let config = server.config(&format!("strongroom-tests/{path}?{settings}"));
        let target = S3Target::create(config).await.unwrap();
        target.create(&key("small"), b"123456789".to_vec()).await.unwrap();
        target.create(&key("large"), content(40 << 20, 3)).await.unwrap();
        for name in ["small", "large"] {
            let plain = plain_client(&server);
            let request = plain.head_object().bucket("strongroom-tests");
            let request = request.key(format!("{path}/{name}"));
            let request = request.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
            let sum = request.send().await.unwrap().checksum_crc32;
            assert_eq!(sum.is_some(), is_kept, "{name} {settings}: {sum:?}");
        }
    }
}
