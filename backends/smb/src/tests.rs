//! What cannot be brought about from outside: a server whose file system has no hard links.

use futures::future::join_all;
use strongroom_backend_support::Environment;
use strongroom_core::target::{
    BackupTarget, KeyPrefix, ObjectKey, Payload, PutMode, TargetErrorKind, TargetExt,
};

use crate::{SmbConfig, SmbTarget};

async fn without_links(path: &str) -> SmbTarget {
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| {
            panic!("{name} is not set: scripts/test starts the servers (services/samba.sh)")
        })
    };
    let (host, port) = (variable("TEST_SMB_HOST"), variable("TEST_SMB_PORT"));
    let (user, share) = (variable("TEST_SMB_USER"), variable("TEST_SMB_SHARE_SIGNED"));
    let password = variable("TEST_SMB_PASSWORD");
    let environment =
        Environment::new(|name| (name == "STRONGROOM_SMB_PASSWORD").then(|| password.clone()));
    let url = format!("smb://{user}@{host}:{port}/{share}/{path}");
    let config = SmbConfig::from_url(&url, &environment).unwrap();
    let target = SmbTarget::create(config).await.unwrap();
    target.writers().pretend_there_are_no_links();
    target
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_clients_wins_a_name_also_without_hard_links() {
    let path = format!("no-links-{}", std::process::id());
    let clients = join_all((0..6).map(|_| without_links(&path))).await;
    for round in 0..20 {
        let key = ObjectKey::parse(&format!("f{}/k{round}", round % 3)).unwrap();
        let creates = clients.iter().enumerate().map(|(number, client)| {
            let payload = Payload::from(vec![number as u8; 1000]);
            client.put(&key, payload, PutMode::Create)
        });
        let results = join_all(creates).await;
        let won: Vec<_> = (0..results.len()).filter(|number| results[*number].is_ok()).collect();
        assert_eq!(won.len(), 1, "round {round}: {results:?}");
        let mut lost = results.iter().filter_map(|result| result.as_ref().err());
        assert!(lost.all(|error| error.kind() == TargetErrorKind::AlreadyExists), "{results:?}");
        assert_eq!(clients[0].get_full(&key).await.unwrap(), vec![won[0] as u8; 1000]);
    }
    assert_eq!(clients[0].list_all(&KeyPrefix::all()).await.unwrap().len(), 20);
}
