//! Creators over SFTP that died half-way: what they leave neither blocks a key nor is lost.

use std::{fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use strongroom_core::target::{
    BackupTarget, KeyPrefix, ObjectKey, TargetErrorKind, TargetExt, TargetResult,
};
use strongroom_opendal::OpendalTarget;

use crate::servers;

/// A target, and its folder as the server's file system has it.
async fn target_and_folder() -> (Arc<dyn BackupTarget>, PathBuf) {
    let name = servers::unique("claims");
    let target = servers::create(&servers::sftp(&format!("~/{name}"))).await;
    (target, PathBuf::from(servers::variable("TEST_SFTP_ROOT")).join(name))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn kind(result: TargetResult<()>) -> TargetErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_claim_of_a_dead_creator_is_completed_by_the_next() {
    let (target, folder) = target_and_folder().await;
    fs::create_dir_all(folder.join("d/.claim-x")).unwrap();
    fs::write(folder.join("d/.claim-x/0123"), "of the dead").unwrap();
    assert!(!target.exists(&key("d/x")).await.unwrap());
    assert_eq!(kind(target.create(&key("d/x"), vec![1]).await), TargetErrorKind::AlreadyExists);
    assert_eq!(target.get_full(&key("d/x")).await.unwrap(), "of the dead");
    assert!(!folder.join("d/.claim-x").exists(), "the claim is gone");
}

#[tokio::test]
async fn an_empty_claim_is_no_claim() {
    let (target, folder) = target_and_folder().await;
    fs::create_dir_all(folder.join("d/.claim-x")).unwrap();
    target.create(&key("d/x"), vec![1]).await.unwrap();
    assert!(!folder.join("d/.claim-x").exists(), "the claim is gone");
}

#[tokio::test]
async fn a_claim_never_replaces_an_object() {
    let (target, folder) = target_and_folder().await;
    target.create(&key("d/x"), b"first".to_vec()).await.unwrap();
    fs::create_dir_all(folder.join("d/.claim-x")).unwrap();
    fs::write(folder.join("d/.claim-x/0123"), "too late").unwrap();
    assert_eq!(kind(target.create(&key("d/x"), vec![1]).await), TargetErrorKind::AlreadyExists);
    assert_eq!(target.get_full(&key("d/x")).await.unwrap(), "first");
    assert!(!folder.join("d/.claim-x").exists(), "the claim is gone");
}

#[tokio::test]
async fn nothing_stays_behind_and_leftovers_are_not_listed() {
    let (target, folder) = target_and_folder().await;
    target.create(&key("d/x"), b"first".to_vec()).await.unwrap();
    target.replace(&key("d/x"), b"second".to_vec()).await.unwrap();
    assert_eq!(kind(target.create(&key("d/x"), vec![1]).await), TargetErrorKind::AlreadyExists);
    assert_eq!(fs::read_dir(folder.join(".uploads")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.join("d")).unwrap().count(), 1);
    fs::create_dir_all(folder.join(".uploads/0123")).unwrap();
    fs::write(folder.join(".uploads/0123/0123"), "unfinished").unwrap();
    fs::write(folder.join("d/.hidden"), "x").unwrap();
    fs::write(folder.join("d/Upper Case"), "x").unwrap();
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["d/x"]);
}

/// Two targets, as two programs would have them, race for the same keys; a third one deletes
/// nothing, so each key must end with what its one winner put.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_never_both_win() {
    let name = servers::unique("~/race");
    let config = servers::sftp(&name);
    servers::create(&config).await;
    let mut targets = Vec::new();
    for _ in 0..2 {
        targets.push(OpendalTarget::open(&config).await.unwrap());
    }
    for round in 0..20 {
        let key = key(&format!("race/{round}"));
        let contents: Vec<Bytes> = (0..4u8).map(|number| vec![number; 10].into()).collect();
        let racers = contents
            .iter()
            .enumerate()
            .map(|(number, content)| targets[number % 2].create(&key, content.clone()));
        let results = futures::future::join_all(racers).await;
        let winners: Vec<usize> = (0..4).filter(|number| results[*number].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(targets[0].get_full(&key).await.unwrap(), contents[winners[0]]);
    }
}
