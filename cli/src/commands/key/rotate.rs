//! `key rotate`.

use serde_json::json;
use strongroom_core::{
    id::SlotId,
    repository::keys::{RotateOptions, Rotated},
};

use super::{change::options, list::SlotJson, show_recovery_key};
use crate::{
    access::Context,
    args::KeyRotateArgs,
    error::{Doing, Failure, Result},
    exit::Exit,
    output::Console,
};

/// Rotates the keys.
pub async fn run(args: &KeyRotateArgs, context: &Context) -> Result<Exit> {
    let opened = context.open().await?;
    // what the agent holds opens one slot, and cannot seal another
    let credential = context.credential().await?;
    let repository = &opened.repository;
    let doing = || "cannot rotate the keys".to_owned();
    if args.dry_run {
        let (slots, damaged) = repository.slots_left_behind(credential).await.doing(doing)?;
        let console = context.console;
        if console.is_json() {
            console.object(&json!({
                "message_type": "rotate_plan",
                "dry_run": true,
                "left_behind": slots.iter().map(SlotJson::new).collect::<Vec<_>>(),
                "damaged": ids(&damaged),
            }))?;
        } else {
            let kind = |slot: &strongroom_core::repository::keys::KeySlot| {
                format!("would need --remove-others for {} {}", slot.kind.name(), slot.id)
            };
            let mut lines: Vec<String> = slots.iter().map(kind).collect();
            lines.extend(damaged.iter().map(|id| format!("would remove damaged slot {id}")));
            lines.push("would make a new master key and a new recovery key".to_owned());
            console.text(&lines.join("\n"))?;
        }
        return Ok(Exit::Done);
    }
    let slots = repository.key_slots().await.doing(doing)?;
    let slot = options(&args.slot, &slots)?;
    let options = RotateOptions { slot, removes_others: args.remove_others };
    let rotated = repository.rotate_keys(credential, &options).await.doing(doing)?;
    show(&rotated, context.console)?;
    match rotated.problem {
        None => Ok(Exit::Done),
        Some(error) => Err(Failure::from(error).doing("the rotation is not finished")),
    }
}

/// Says what was done; the recovery key first of all.
fn show(rotated: &Rotated, console: Console) -> Result<()> {
    let key = rotated.recovery.to_text();
    let mut out = console.out();
    if console.is_json() {
        out.object(&json!({
            "message_type": "keys_rotated",
            "epoch": rotated.epoch,
            "slot": rotated.slot.to_string(),
            "recovery_slot": rotated.recovery_slot.to_string(),
            "recovery_key": key.as_str(),
            "removed": ids(&rotated.removed),
            "outdated": ids(&rotated.left),
            "finished_earlier_rotation": rotated.is_resumed,
        }))?;
        return out.finish();
    }
    match rotated.is_resumed {
        true => out.line(&format!("finished the rotation to key epoch {}", rotated.epoch))?,
        false => out.line(&format!("key epoch {} is in force", rotated.epoch))?,
    }
    for id in &rotated.removed {
        out.line(&format!("removed key slot {id}"))?;
    }
    for id in &rotated.left {
        out.line(&format!("key slot {id} was added meanwhile and opens old data only"))?;
    }
    out.line("")?;
    show_recovery_key(&mut out, &key)?;
    out.line("What was stored before can be read with the old master key until prune has")?;
    out.line("rewritten it.")?;
    out.finish()
}

fn ids(ids: &[SlotId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
