//! URLs: what each scheme understands, refuses and takes from the environment.

use strongroom_backend_support::Secret;
use strongroom_core::target::TargetErrorKind;
use strongroom_opendal::{OpendalConfig, OpendalTarget};

use crate::servers::environment;

fn read(url: &str, variables: &[(&str, &str)]) -> OpendalConfig {
    OpendalConfig::from_url(url, &environment(variables)).unwrap()
}

fn option<'a>(config: &'a OpendalConfig, name: &str) -> &'a str {
    config.options.get(name).map_or("-", String::as_str)
}

fn secret<'a>(config: &'a OpendalConfig, name: &str) -> &'a str {
    config.secrets.get(name).map_or("-", Secret::expose)
}

#[test]
fn sftp_takes_user_port_key_and_path() {
    let config = read("sftp://me@host:2222/srv/b?key-file=/k&known-hosts=add", &[]);
    assert_eq!(option(&config, "endpoint"), "ssh://host:2222");
    assert_eq!((option(&config, "user"), option(&config, "key")), ("me", "/k"));
    assert_eq!(option(&config, "known_hosts_strategy"), "add");
    assert_eq!((config.path.join("/").as_str(), config.is_below_home), ("srv/b", false));
    let config = read("sftp://alias/~/b", &[("STRONGROOM_SFTP_KEY_FILE", "/k2")]);
    assert_eq!((option(&config, "endpoint"), option(&config, "key")), ("alias", "/k2"));
    assert_eq!((config.path.join("/").as_str(), config.is_below_home), ("b", true));
    assert_eq!(config.place, "sftp://alias/~/b");
    assert_eq!(option(&read("sftp://[::1]:22/x", &[]), "endpoint"), "ssh://::1:22");
}

#[test]
fn webdav_and_ftp_take_secrets_from_the_environment() {
    let variables = [
        ("STRONGROOM_WEBDAV_USER", "u"),
        ("STRONGROOM_WEBDAV_PASSWORD", "hunter2"),
        ("STRONGROOM_FTP_PASSWORD_COMMAND", "echo hunter3"),
    ];
    let config = read("webdavs://host:8443/dav/x?ca-file=/ca.pem&concurrency=3", &variables);
    assert_eq!(option(&config, "endpoint"), "https://host:8443");
    assert_eq!((option(&config, "username"), secret(&config, "password")), ("u", "hunter2"));
    assert_eq!((config.path.join("/").as_str(), config.concurrency), ("dav/x", Some(3)));
    assert!(!format!("{config:?}").contains("hunter2"));
    let config = read("ftps://me@host/x", &variables);
    assert_eq!(option(&config, "endpoint"), "ftps://host");
    assert_eq!((option(&config, "user"), secret(&config, "password")), ("me", "hunter3"));
    assert_eq!(option(&read("ftp://host/x", &[]), "user"), "anonymous");
}

#[test]
fn the_others_take_what_their_services_need() {
    let b2 = [("B2_ACCOUNT_ID", "id"), ("B2_ACCOUNT_KEY", "hunter2")];
    let config = read("b2://bucket/a/b?bucket-id=4711", &b2);
    assert_eq!((option(&config, "bucket"), option(&config, "bucket_id")), ("bucket", "4711"));
    assert_eq!(secret(&config, "application_key"), "hunter2");
    let swift = [("OS_STORAGE_URL", "https://h/v1/a"), ("OS_AUTH_TOKEN", "hunter2")];
    let config = read("swift://container/p", &swift);
    assert_eq!(option(&config, "endpoint"), "https://h/v1/a");
    let azfile = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "aHVudGVyMg==")];
    let config = read("azfile://share/p", &azfile);
    assert_eq!(option(&config, "endpoint"), "https://acc.file.core.windows.net");
    let sas = [("AZURE_STORAGE_SAS_TOKEN", "sv=1"), ("AZURE_STORAGE_ACCOUNT", "acc")];
    assert_eq!(secret(&read("azfile://share/p", &sas), "sas_token"), "sv=1");
    let config = read("gdrive://My%20Folder/b", &[("STRONGROOM_GDRIVE_ACCESS_TOKEN", "t")]);
    assert_eq!(
        (config.path.join("/").as_str(), secret(&config, "access_token")),
        ("My Folder/b", "t")
    );
    let renewing = [
        ("STRONGROOM_DROPBOX_REFRESH_TOKEN", "r"),
        ("STRONGROOM_DROPBOX_CLIENT_ID", "i"),
        ("STRONGROOM_DROPBOX_CLIENT_SECRET", "s"),
    ];
    assert_eq!(secret(&read("dropbox://b", &renewing), "client_secret"), "s");
}

#[test]
fn what_is_wrong_or_missing_is_named() {
    for (url, named) in [
        ("sftp:///srv/b", "host"),
        ("sftp://-oProxyCommand=x/srv", "'-'"),
        ("sftp://host/b?known-hosts=never", "known-hosts"),
        ("sftp://host/b?key=/k", "\"key\""),
        ("sftp://u:p@host/b", "password"),
        ("webdav://me@host/b", "STRONGROOM_WEBDAV_PASSWORD"),
        ("webdav://host/b?token=x", "\"token\""),
        ("ftp://me@host/b", "STRONGROOM_FTP_PASSWORD"),
        ("ftp://host/b?concurrency=0", "concurrency"),
        ("b2://bucket", "bucket"),
        ("b2://bucket?bucket-id=1", "B2_ACCOUNT_ID"),
        ("swift://container", "storage URL"),
        ("swift://container?endpoint=http://h/v1/a", "OS_AUTH_TOKEN"),
        ("azfile://share", "account"),
        ("azfile://share?account=a", "AZURE_STORAGE_KEY"),
        ("gdrive://b", "STRONGROOM_GDRIVE_ACCESS_TOKEN"),
        ("dropbox://b?x=1", "\"x\""),
        ("onedrive://b", "STRONGROOM_ONEDRIVE_ACCESS_TOKEN"),
        ("opendal+memory://host/b", "three slashes"),
        ("opendal+memory:///b?root=/x", "root"),
        ("opendal+s3:///b?secret-access-key=x", "STRONGROOM_OPENDAL_SECRET_ACCESS_KEY"),
    ] {
        let error = OpendalConfig::from_url(url, &environment(&[])).unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Invalid, "{url}: {error}");
        let text = format!("{error} {}", error.hint_text().unwrap_or_default());
        assert!(text.contains(named), "{url}: {text}");
    }
    let error = OpendalConfig::from_url("gopher://b", &environment(&[])).unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unsupported);
}

#[tokio::test]
async fn any_service_that_is_built_in_is_opened_by_its_name() {
    let variables = [("STRONGROOM_OPENDAL_TOKEN", "hunter2")];
    let config = read("opendal+webdav:///x?endpoint=http://127.0.0.1:1&ca-file=/none", &variables);
    assert_eq!(secret(&config, "token"), "hunter2");
    assert_eq!(option(&config, "endpoint"), "http://127.0.0.1:1");
    assert!(config.ca_file.is_some());

    let config = read("opendal+nosuch:///x", &[]);
    let error = OpendalTarget::open(&config).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unsupported);
    assert!(error.hint_text().unwrap().contains("memory, "), "{:?}", error.hint_text());
}

/// Services that cannot be tried here: OpenDAL takes the settings, and says what lacks.
#[tokio::test]
async fn operators_are_built_for_services_that_are_elsewhere() {
    let nowhere = "http://127.0.0.1:1";
    let tokens = [("OS_AUTH_TOKEN", "t"), ("AZURE_STORAGE_KEY", "aHVudGVyMg==")];
    for url in [
        format!("swift://container/p?endpoint={nowhere}/v1/a"),
        format!("azfile://share/p?account=acc&endpoint={nowhere}"),
    ] {
        let error = OpendalTarget::open(&read(&url, &tokens)).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{url}: {error}");
        assert!(error.is_retryable());
    }
}
