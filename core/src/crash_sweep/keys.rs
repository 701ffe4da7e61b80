//! Keys: added, removed, another password, a new master key.

use super::{Extent, sweep};
use crate::{
    error::{ErrorKind, Result},
    repository::{Repository, keys::RotateOptions},
    testing::stage::{Stage, Told, credential, slot},
};

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        let stage = Stage::with(2, has_parity).await;
        let add = async |repository: &Repository, told: &mut Told| -> Result<()> {
            repository.add_key(&credential("added"), &slot()).await?;
            told.opened_by = Some(credential("added"));
            Ok(())
        };
        points += sweep(&format!("key add {with}"), extent, &stage, add).await;
        points += removes(&format!("key remove {with}"), extent, has_parity).await;
        points += passwords(&format!("key password {with}"), extent, has_parity).await;
        let rotate = async |repository: &Repository, _: &mut Told| -> Result<()> {
            let options = RotateOptions { slot: slot(), removes_others: true };
            let rotated = repository.rotate_keys(&credential("password"), &options).await?;
            rotated.problem.map_or(Ok(()), Err)
        };
        points += sweep(&format!("key rotate {with}"), extent, &stage, rotate).await;
    }
    points
}

/// Removes all slots but the one that opened the repository.
async fn removes(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let stage = Stage::with(2, has_parity).await;
    let repository = stage.reopen().await;
    for other in ["one", "two"] {
        repository.add_key(&credential(other), &slot()).await.unwrap();
    }
    let remove = async |repository: &Repository, _: &mut Told| -> Result<()> {
        let slots = repository.key_slots().await?.slots;
        for other in slots.iter().filter(|slot| !slot.is_in_use) {
            match repository.remove_key(other.id, false).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    };
    sweep(name, extent, &stage, remove).await
}

async fn passwords(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let mut stage = Stage::with(2, has_parity).await;
    stage.credentials.push(credential("next"));
    let change = async |repository: &Repository, told: &mut Told| -> Result<()> {
        repository.change_password(&credential("next"), &slot(), None).await?;
        told.opened_by = Some(credential("next"));
        Ok(())
    };
    sweep(name, extent, &stage, change).await
}
