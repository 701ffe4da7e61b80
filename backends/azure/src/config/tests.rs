//! URLs and environments: what is understood and what is refused, by name.

use strongroom_core::target::TargetErrorKind;

use super::*;

type Variables = &'static [(&'static str, &'static str)];

fn read(url: &str, variables: Variables) -> TargetResult<AzureConfig> {
    let environment = Environment::new(move |name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    AzureConfig::from_url(url, &environment)
}

const KEY: Variables = &[("AZURE_STORAGE_KEY", "a2V5"), ("AZURE_STORAGE_ACCOUNT", "fromenv")];

#[test]
fn a_url_says_everything_but_secrets() {
    let url = "az://vault/My%20Backups/x?account=acct&endpoint=http://127.0.0.1:10000/acct/\
               &tier=cool&tier.packs=Cold&retention-days=30&immutability=locked\
               &checksums=none&ca-file=/ca.pem";
    let config = read(url, KEY).unwrap();
    assert_eq!((config.account.as_str(), config.container.as_str()), ("acct", "vault"));
    assert_eq!(config.path, ["My Backups", "x"]);
    assert_eq!(config.endpoint.as_str(), "http://127.0.0.1:10000/acct");
    assert_eq!(config.credential, Credential::AccountKey(Secret::new("a2V5")));
    let tier = |key| config.tiers.of(&ObjectKey::parse(key).unwrap());
    assert_eq!(tier("packs/1"), Some(AccessTier::Cold));
    assert_eq!(tier("packs"), Some(AccessTier::Cool));
    assert_eq!(tier("snapshots/1"), Some(AccessTier::Cool));
    let immutability = config.immutability.unwrap();
    assert_eq!(immutability.mode, ImmutabilityPolicyMode::Locked);
    assert_eq!(immutability.days, Some(30));
    assert!(!config.checksums);
    assert_eq!(config.ca_file, Some("/ca.pem".into()));
}

#[test]
fn what_a_url_leaves_out_has_a_default() {
    let config = read("az://vault", KEY).unwrap();
    assert_eq!(config.account, "fromenv");
    assert_eq!(config.endpoint.as_str(), "https://fromenv.blob.core.windows.net/");
    assert!(config.checksums && config.path.is_empty() && config.immutability.is_none());
    assert_eq!(config.tiers, Tiers::default());
    let config = read("az://vault?retention-days=5", KEY).unwrap();
    assert_eq!(config.immutability.unwrap().mode, ImmutabilityPolicyMode::Unlocked);
}

#[test]
fn credentials_are_taken_in_the_documented_order() {
    let all: Variables = &[
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=acct;AccountKey=Zmlyc3Q=;Foo=b=r;"),
        ("AZURE_STORAGE_KEY", "c2Vjb25k"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "dGhpcmQ="),
        ("AZURE_STORAGE_SAS_TOKEN", "?sig=x"),
        ("AZURE_STORAGE_ACCOUNT", "acct"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET_COMMAND", "echo hunter2"),
    ];
    let used = |from: usize, url| read(url, &all[from..]).unwrap().credential;
    assert_eq!(used(0, "az://vault"), Credential::AccountKey(Secret::new("Zmlyc3Q=")));
    assert_eq!(used(1, "az://vault"), Credential::AccountKey(Secret::new("c2Vjb25k")));
    assert_eq!(used(2, "az://vault"), Credential::AccountKey(Secret::new("dGhpcmQ=")));
    assert_eq!(used(3, "az://vault"), Credential::Sas(Secret::new("?sig=x")));
    let Credential::Entra(entra) = used(4, "az://vault") else { panic!("not Entra") };
    assert_eq!(entra.source, Identity::Any);
    assert_eq!(entra.client_secret, Some(Secret::new("hunter2")));
    let Credential::Entra(entra) = used(0, "az://vault?identity=managed") else {
        panic!("not Entra")
    };
    assert_eq!(entra.source, Identity::Managed);
    assert!(!format!("{:?}", read("az://vault", all).unwrap()).contains("Zmlyc3Q"));
}

#[test]
fn a_connection_string_says_where_and_who() {
    const PLAIN: Variables = &[(
        "AZURE_STORAGE_CONNECTION_STRING",
        "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=a2V5;\
         EndpointSuffix=core.chinacloudapi.cn",
    )];
    let config = read("az://vault", PLAIN).unwrap();
    assert_eq!(config.endpoint.as_str(), "https://acct.blob.core.chinacloudapi.cn/");
    const SAS: Variables = &[(
        "AZURE_STORAGE_CONNECTION_STRING",
        "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D",
    )];
    let config = read("az://vault?account=acct", SAS).unwrap();
    assert_eq!(config.credential, Credential::Sas(Secret::new("sv=1&sig=a%3D")));
    assert_eq!(config.endpoint.host_str(), Some("acct.blob.core.windows.net"));
    let other = read("az://vault?account=other", PLAIN).unwrap_err();
    assert!(other.to_string().contains("\"other\"") && other.to_string().contains("\"acct\""));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (url, named) in [
        ("s3://vault", "\"s3\""),
        ("az://Vault_1?account=a", "container"),
        ("az://v?account=a", "\"v\""),
        ("az://vault:10000?account=a", "port"),
        ("az://acct@vault", "user"),
        ("az://vault?tier=Warm", "Warm"),
        ("az://vault?tier.packs=Archive", "archive"),
        ("az://vault?retention-days=0", "retention-days"),
        ("az://vault?immutability=maybe", "immutability"),
        ("az://vault?identity=me", "identity"),
        ("az://vault?checksums=sha1", "checksums"),
        ("az://vault?endpoint=ftp://x", "endpoint"),
        ("az://vault?endpoint=https://x?sig=1", "endpoint"),
        ("az://vault?account=a/b", "\"a/b\""),
        ("az://vault?colour=red", "\"colour\""),
    ] {
        let error = read(url, KEY).unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(named), "{url}: {error}");
    }
}

#[test]
fn secrets_that_make_no_sense_are_refused_and_not_repeated() {
    const NONE: Variables = &[];
    let error = read("az://vault", NONE).unwrap_err();
    assert!(error.hint_text().unwrap().contains("AZURE_STORAGE_ACCOUNT"), "{error:?}");
    const BARE: Variables = &[("AZURE_STORAGE_CONNECTION_STRING", "hunter2")];
    const KEYLESS: Variables = &[("AZURE_STORAGE_CONNECTION_STRING", "AccountName=hunter2")];
    const EMULATOR: Variables =
        &[("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true;x=hunter2")];
    for variables in [BARE, KEYLESS, EMULATOR] {
        let error = read("az://vault?account=a", variables).unwrap_err();
        assert!(error.to_string().contains("AZURE_STORAGE_CONNECTION_STRING"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let plain = read("az://vault?account=a&endpoint=http://h/a&identity=cli", KEY).unwrap_err();
    assert!(plain.to_string().contains("https"), "{plain}");
}
