//! `key add`, `key remove`, `key password`.

use serde_json::json;
use strongroom_core::{
    format::slot::RecoveryKey,
    repository::{
        Credential,
        keys::{KeySlots, SlotOptions},
    },
};

use super::{find, show_recovery_key};
use crate::{
    access::{Context, label},
    args::{GlobalArgs, KeyAddArgs, KeyPasswordArgs, KeyRemoveArgs, NewSlotArgs},
    commands::with_repository,
    error::{Doing, Result},
    exit::Exit,
    key_file,
    output::Console,
    password::{self, Purpose},
};

/// Adds a slot.
pub fn add(args: &KeyAddArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let given = match (&args.new_key_file, args.recovery) {
        (Some(path), _) => Some(Credential::KeyFile(key_file::read(path)?)),
        (None, true) => None,
        (None, false) => Some(password::new_password(&args.password)?),
    };
    with_repository(global, console, Purpose::Open, async |context| {
        let randomness = &*context.runtime.randomness;
        let new =
            given.unwrap_or_else(|| Credential::RecoveryKey(RecoveryKey::generate(randomness)));
        let opened = context.open().await?;
        let repository = &opened.repository;
        let doing = || "cannot add the key".to_owned();
        let slots = repository.key_slots().await.doing(doing)?;
        let options = options(&args.slot, &slots)?;
        let id = repository.add_key(&new, &options).await.doing(doing)?;
        let recovery = match &new {
            Credential::RecoveryKey(key) => Some(key.to_text()),
            _ => None,
        };
        let recovery = recovery.as_ref().map(|text| text.as_str());
        let mut out = console.out();
        if console.is_json() {
            out.object(&json!({
                "message_type": "key_added",
                "id": id.to_string(),
                "recovery_key": recovery,
            }))?;
        } else {
            out.line(&format!("added key slot {id}"))?;
            if let Some(text) = recovery {
                out.line("")?;
                show_recovery_key(&mut out, text)?;
            }
        }
        out.finish()?;
        Ok(Exit::Done)
    })
}

/// Removes a slot.
pub async fn remove(args: &KeyRemoveArgs, context: &Context) -> Result<Exit> {
    let opened = context.open().await?;
    let repository = &opened.repository;
    let doing = || "cannot remove the key".to_owned();
    let slots = repository.key_slots().await.doing(doing)?;
    let id = find(&slots, &args.id).doing(doing)?;
    repository.check_removal(&slots, id, args.force).doing(doing)?;
    if !args.dry_run {
        repository.remove_key(id, args.force).await.doing(doing)?;
    }
    let console = context.console;
    if console.is_json() {
        console.object(&json!({
            "message_type": "key_removed",
            "id": id.to_string(),
            "dry_run": args.dry_run,
        }))?;
    } else if args.dry_run {
        console.text(&format!("would remove key slot {id}"))?;
    } else {
        console.summary(&[
            format!("removed key slot {id}"),
            "whoever opened it before may have kept the master key: see `key rotate`".to_owned(),
        ])?;
    }
    Ok(Exit::Done)
}

/// Replaces a password.
pub fn password(args: &KeyPasswordArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let new = password::new_password(&args.password)?;
    with_repository(global, console, Purpose::Open, async |context| {
        let opened = context.open().await?;
        let repository = &opened.repository;
        let doing = || "cannot change the password".to_owned();
        let slots = repository.key_slots().await.doing(doing)?;
        let replaced = match &args.replace {
            Some(prefix) => Some(find(&slots, prefix).doing(doing)?),
            None => None,
        };
        let options = options(&args.slot, &slots)?;
        let change = repository.change_password(&new, &options, replaced).await.doing(doing)?;
        if console.is_json() {
            console.object(&json!({
                "message_type": "password_changed",
                "added": change.added.to_string(),
                "removed": change.removed.to_string(),
            }))?;
        } else {
            console.summary(&[format!(
                "the new password opens the repository (key slot {}), the old one no longer does",
                change.added
            )])?;
        }
        Ok(Exit::Done)
    })
}

/// What a new slot costs and says.
pub fn options(args: &NewSlotArgs, slots: &KeySlots) -> Result<SlotOptions> {
    let kdf = args.cost(slots.usual_cost())?;
    Ok(SlotOptions { kdf, label: args.label.clone().unwrap_or_else(label) })
}
