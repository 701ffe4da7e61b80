//! Forgetting, bringing back, and what is said of snapshots.

use super::{Extent, sweep};
use crate::{
    error::Result,
    forget::{LabelChange, TagChange, UndoOptions, change_labels, undo},
    id::ClientId,
    repository::Repository,
    testing::stage::{Promise, Stage, Told, forget_now},
};

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        points += forgets(&format!("forget {with}"), extent, has_parity).await;
        points += undoes(&format!("forget --undo {with}"), extent, has_parity).await;
        points += labels(&format!("hold, tag, release {with}"), extent, has_parity).await;
    }
    points
}

async fn forgets(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let mut stage = Stage::with(6, has_parity).await;
    let ids = stage.doom(4);
    sweep(name, extent, &stage, async |repository: &Repository, told: &mut Told| -> Result<()> {
        forget_now(repository, &ids).await?;
        told.forgotten.extend(&ids);
        Ok(())
    })
    .await
}

/// One that is held, and one that is not.
async fn undoes(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let mut stage = Stage::with(5, has_parity).await;
    let forgotten: Vec<Promise> = stage.promises[..3].to_vec();
    stage.forget(3).await;
    let options = UndoOptions { client: ClientId([5; 16]), host: "host".to_owned() };
    sweep(name, extent, &stage, async |repository: &Repository, told: &mut Told| -> Result<()> {
        for promise in &forgotten {
            let undone = undo(repository, promise.id, &options).await?;
            // who runs it again is told of the same snapshot
            told.made.push(Promise { id: undone.snapshot, version: promise.version });
        }
        Ok(())
    })
    .await
}

async fn labels(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let stage = Stage::with(4, has_parity).await;
    let ids: Vec<_> = stage.promises[1..].iter().map(|promise| promise.id).collect();
    let tags = TagChange::Edit { add: vec!["kept".to_owned()], remove: Vec::new() };
    let changes = [LabelChange::hold(true), LabelChange::tags(tags), LabelChange::hold(false)];
    sweep(name, extent, &stage, async |repository: &Repository, _: &mut Told| -> Result<()> {
        for change in &changes {
            let outcomes = change_labels(repository, &ids, change).await?;
            let listed = repository.snapshots().await?.snapshots;
            for outcome in outcomes {
                let one = listed.iter().find(|one| one.id == outcome.id).unwrap();
                assert_eq!((one.is_held, &one.tags), (outcome.is_held, &outcome.tags));
            }
        }
        Ok(())
    })
    .await
}
