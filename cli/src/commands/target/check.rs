//! `target check`: the conformance suite and the probe, as a report.

use std::sync::Arc;

use serde::Serialize;
use strongroom_backends::{OpenMode, TargetUrl};
use strongroom_core::{
    error::Error,
    target::{
        BackupTarget, KeyPrefix, SharedTarget,
        conformance::{self, Report},
        layers::MetricsLayer,
        probe::{ProbeOptions, ProbeReport, probe},
    },
};

use super::{Place, or_stop};
use crate::{
    args::TargetCheckArgs,
    error::{Doing, Result},
    exit::Exit,
    output::human,
};

#[derive(Serialize)]
struct CheckSummary<'a> {
    message_type: &'static str,
    target: String,
    is_safe: bool,
    probe: &'a ProbeReport,
    conformance: Option<&'a Report>,
    requests_sent: Option<u64>,
}

/// Checks the target without any layer that would mend what it does wrong.
pub async fn run(args: &TargetCheckArgs, url: &TargetUrl, place: &Place) -> Result<Exit> {
    let mode = if args.create { OpenMode::Create } else { OpenMode::Existing };
    let bare = or_stop(place, place.open_bare(url, mode)).await?;
    let target: SharedTarget = Arc::new(MetricsLayer::new(bare));
    let capabilities = target.capabilities().await.map_err(Error::from);
    let capabilities = capabilities.doing(|| "cannot use the target".to_owned())?;
    let options = if args.quick { ProbeOptions::cheap() } else { ProbeOptions::thorough() };
    let probing = async {
        let found = probe(&target, &place.runtime, &KeyPrefix::all(), &options).await;
        found.map_err(Error::from).doing(|| "the probe failed".to_owned())
    };
    let probed = or_stop(place, probing).await?;
    let report = match args.quick {
        true => None,
        false => {
            let options = conformance::Options {
                listed_objects: args.objects as usize,
                concurrency: capabilities.concurrency,
                ..conformance::Options::default()
            };
            let checking =
                async { Ok(conformance::run(target.clone(), &place.runtime, &options).await) };
            Some(or_stop(place, checking).await?)
        }
    };
    let is_good = probed.is_safe() && report.as_ref().is_none_or(Report::is_conformant);
    if place.console.is_json() {
        place.console.object(&CheckSummary {
            message_type: "target_check",
            target: target.to_string(),
            is_safe: probed.is_safe(),
            probe: &probed,
            conformance: report.as_ref(),
            requests_sent: target.requests_sent(),
        })?;
    } else {
        let mut lines = vec![target.to_string(), probed.to_string()];
        if let Some(space) = capabilities.space {
            let available = human::bytes(space.available_bytes);
            lines.push(format!("room:    {available} of {}", human::bytes(space.total_bytes)));
        }
        lines.extend(report.map(|report| report.to_string()));
        if !probed.is_safe() {
            lines.push(advice().to_owned());
        }
        place.console.text(&lines.join("\n"))?;
    }
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

/// What an unsafe storage means.
pub fn advice() -> &'static str {
    "Backup and restore work here. Removing data (prune) does not: it rests on the storage \
     deciding who was first."
}
