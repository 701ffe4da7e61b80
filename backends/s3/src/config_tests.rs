//! Tests of the settings that a URL and the environment may have.

use strongroom_core::target::TargetErrorKind;

use super::*;

fn environment(pairs: &'static [(&'static str, &'static str)]) -> Environment<'static> {
    Environment::new(move |name| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

fn config(url: &str) -> TargetResult<S3Config> {
    S3Config::from_url(url, &environment(&[]))
}

#[test]
fn a_plain_url_leaves_everything_to_the_sdk() {
    let plain = config("s3://bucket").unwrap();
    assert_eq!(plain, S3Config::new("bucket"));
    assert_eq!(plain.to_string(), "s3://bucket");
}

#[test]
fn every_setting_is_read() {
    let url = "s3://bucket/a/b?region=eu-central-1&endpoint=http://127.0.0.1:9000/&profile=p\
               &path-style=false&ca-file=/ca.pem&checksums=when-required&storage-class=STANDARD_IA\
               &storage-class.packs=GLACIER_IR&sse=aws:kms&sse-kms-key-id=alias/x\
               &object-lock=governance&retention-days=7&object-lock.packs=compliance\
               &retention-days.packs=30&object-lock.leases=off&requester-pays&part-size=16";
    let config = config(url).unwrap();
    assert_eq!(config.path, ["a", "b"]);
    assert_eq!(config.region.as_deref(), Some("eu-central-1"));
    assert_eq!(config.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!((config.profile.as_deref(), config.is_path_style), (Some("p"), false));
    assert_eq!(config.ca_file, Some(PathBuf::from("/ca.pem")));
    assert_eq!(config.checksums, Checksums::WhenRequired);
    assert_eq!(config.storage_class.of("packs").unwrap(), "GLACIER_IR");
    assert_eq!(config.storage_class.of("index").unwrap(), "STANDARD_IA");
    assert_eq!(config.encryption, Encryption::Kms { key_id: Some("alias/x".into()) });
    let lock = |mode, days| Some(Some(ObjectLock { mode, days }));
    assert_eq!(config.object_lock.of("packs").copied(), lock(LockMode::Compliance, 30));
    assert_eq!(config.object_lock.of("index").copied(), lock(LockMode::Governance, 7));
    assert_eq!(config.object_lock.of("leases").copied(), Some(None));
    assert!(config.is_requester_paying);
    assert_eq!(config.part_bytes, Some(16 << 20));
    assert_eq!(config.to_string(), "s3://bucket/a/b?endpoint=http://127.0.0.1:9000");
}

#[test]
fn what_the_environment_says_is_taken_where_the_url_is_silent() {
    let set = environment(&[
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY_COMMAND", "echo hunter2"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", "https://s3.example"),
        ("AWS_CA_BUNDLE", "/bundle.pem"),
    ]);
    let config = S3Config::from_url("s3://bucket", &set).unwrap();
    let credentials = config.credentials.clone().unwrap();
    assert_eq!(credentials.access_key_id, "AKIDEXAMPLE");
    assert_eq!(credentials.secret_access_key.expose(), "hunter2");
    assert_eq!(credentials.session_token.unwrap().expose(), "token");
    assert_eq!(config.region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.endpoint.as_deref(), Some("https://s3.example"));
    assert!(config.is_path_style, "usual where there is an endpoint");
    assert_eq!(config.ca_file, Some(PathBuf::from("/bundle.pem")));
    assert!(!format!("{config:?}").contains("hunter2"));
    let named = S3Config::from_url("s3://bucket?profile=work", &set).unwrap();
    assert_eq!(named.credentials, None, "a named profile comes before the environment");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (url, named) in [
        ("s3://", "bucket"),
        ("s3://user@bucket", "without user"),
        ("s3://bucket:9000", "without user and port"),
        ("s3://b%20c", "b c"),
        ("s3://b?endpoint=localhost:9000", "endpoint"),
        ("s3://b?endpoint=http://u@host", "endpoint"),
        ("s3://b?region=eu%20west", "region"),
        ("s3://b?path-style=maybe", "path-style"),
        ("s3://b?checksums=never", "checksums"),
        ("s3://b?storage-class=cold", "storage-class"),
        ("s3://b?storage-class.packs=", "storage-class.packs"),
        ("s3://b?sse=rot13", "sse"),
        ("s3://b?sse=AES256&sse-kms-key-id=x", "sse-kms-key-id"),
        ("s3://b?sse-kms-key-id=x", "sse-kms-key-id"),
        ("s3://b?sse=AES256&sse-c", "exclude"),
        ("s3://b?sse-c", "STRONGROOM_S3_SSE_C_KEY"),
        ("s3://b?sse-c&endpoint=http://10.0.0.1:9000", "https"),
        ("s3://b?sse-c&endpoint=http://localhost.evil.example", "https"),
        ("s3://b?object-lock=forever&retention-days=1", "object-lock"),
        ("s3://b?object-lock=governance", "retention-days"),
        ("s3://b?object-lock.packs=governance", "retention-days"),
        ("s3://b?retention-days=3", "object-lock"),
        ("s3://b?retention-days.packs=3", "object-lock.packs"),
        ("s3://b?object-lock=governance&retention-days=0", "retention-days"),
        ("s3://b?object-lock=governance&retention-days=99999", "retention-days"),
        ("s3://b?part-size=4", "part-size"),
        ("s3://b?part-size=99999999999999999999", "part-size"),
        ("s3://b?acl=public", "acl"),
    ] {
        let error = config(url).unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(named), "{url}: {error}");
    }
}

#[test]
fn half_a_pair_of_credentials_and_a_bad_key_are_refused_without_a_word_of_them() {
    let half = environment(&[("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")]);
    let error = S3Config::from_url("s3://b", &half).unwrap_err();
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    let short = environment(&[("STRONGROOM_S3_SSE_C_KEY", "aHVudGVyMg==")]);
    let error = S3Config::from_url("s3://b?sse-c", &short).unwrap_err();
    assert!(error.to_string().contains("32 bytes"), "{error}");
    assert!(!format!("{error:?}").contains("aHVudGVyMg"));
    let right =
        environment(&[("STRONGROOM_S3_SSE_C_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")]);
    let url = "s3://b?sse-c&endpoint=http://[::1]:9000";
    let config = S3Config::from_url(url, &right).unwrap();
    assert!(matches!(config.encryption, Encryption::Customer(_)));
    assert!(!format!("{config:?}").contains("MDEy"));
}
