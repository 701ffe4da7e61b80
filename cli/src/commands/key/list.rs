//! `key list`.

use serde::Serialize;
use strongroom_core::{
    crypto::KdfCost,
    entry::display_name,
    repository::keys::{KeySlot, KeySlots},
};

use super::short_id;
use crate::{
    access::Context,
    error::Result,
    exit::Exit,
    output::{human, table::Table},
    time,
};

/// Prints the list.
pub async fn run(context: &Context) -> Result<Exit> {
    let opened = context.open().await?;
    let listing = async { Ok(opened.repository.key_slots().await?) };
    let slots = context.interrupt.or(listing).await?;
    if context.console.is_json() {
        let list: Vec<_> = slots.slots.iter().map(SlotJson::new).collect();
        context.console.object(&list)?;
    } else {
        let mut out = context.console.out();
        for line in table(&slots).lines() {
            out.line(&line)?;
        }
        out.line(&human::count(slots.slots.len() as u64, "key slot"))?;
        out.finish()?;
    }
    for (id, why) in &slots.damaged {
        context.console.item_error("list", &format!("key slot {id}"), why);
    }
    Ok(if slots.damaged.is_empty() { Exit::Done } else { Exit::Damaged })
}

fn table(slots: &KeySlots) -> Table {
    let mut table = Table::new(&["", "ID", "Opened by", "Cost", "Created", "Label", "Opens"]);
    for slot in &slots.slots {
        let note = slot.note.as_ref();
        let cells = [
            if slot.is_in_use { "*" } else { "" }.to_owned(),
            short_id(&slot.id),
            slot.kind.name().to_owned(),
            slot.cost.map(cost).unwrap_or_default(),
            note.map(|note| time::local(note.created)).unwrap_or_default(),
            note.map(|note| display_name(note.label.as_bytes())).unwrap_or_default(),
            if slot.is_outdated { "old data only" } else { "everything" }.to_owned(),
        ];
        table.row(cells.into_iter().map(|cell| vec![cell]).collect());
    }
    table
}

fn cost(cost: KdfCost) -> String {
    let memory = human::bytes(u64::from(cost.memory_kib) << 10);
    format!("{memory}, {} passes", cost.passes)
}

/// A slot for programs.
#[derive(Debug, Serialize)]
pub struct SlotJson<'a> {
    id: String,
    short_id: String,
    kind: &'static str,
    created: Option<String>,
    label: Option<&'a str>,
    epochs: usize,
    in_use: bool,
    outdated: bool,
    kdf: Option<KdfJson>,
}

#[derive(Debug, Serialize)]
struct KdfJson {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl<'a> SlotJson<'a> {
    /// The slot for programs.
    pub fn new(slot: &'a KeySlot) -> Self {
        let note = slot.note.as_ref();
        Self {
            id: slot.id.to_string(),
            short_id: short_id(&slot.id),
            kind: slot.kind.name(),
            created: note.map(|note| time::rfc3339(note.created)),
            label: note.map(|note| note.label.as_str()),
            epochs: slot.epochs,
            in_use: slot.is_in_use,
            outdated: slot.is_outdated,
            kdf: slot.cost.map(|cost| KdfJson {
                memory_kib: cost.memory_kib,
                passes: cost.passes,
                lanes: cost.lanes,
            }),
        }
    }
}
