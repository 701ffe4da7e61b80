//! One suite that every target must pass: what [`BackupTarget`](super::BackupTarget) promises,
//! each promise as a named check.
//!
//! The suite gives a report and never panics, so that the same code serves a backend's tests and
//! a user who asks whether a storage can be trusted. It works below a scratch prefix with a
//! random name and removes its objects afterwards (a storage with folders may keep empty ones).
//! It spawns nothing: all concurrency is futures polled together.

mod content;
mod context;
mod create;
mod limits;
mod listing;
mod removal;
mod replace;
mod report;

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::{
    FutureExt,
    future::{self, BoxFuture, Either},
};

use self::context::{Context, Stop};
pub use self::report::{CheckOutcome, CheckResult, Report};
use super::{KeyPrefix, SharedTarget, TargetExt};
use crate::runtime::{Runtime, random};

/// How hard to try. The defaults are for storages that answer within milliseconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to work; everything outside stays untouched. Empty is the target's root.
    pub scratch: KeyPrefix,
    /// How many objects the listing check creates; slow storages lower it.
    pub listed_objects: usize,
    /// Size of the large object.
    pub large_object_bytes: usize,
    /// How many creators race for one key, in each round.
    pub creators: usize,
    /// How many rounds checks of races and visibility run.
    pub rounds: usize,
    /// Calls at once where a check merely wants to get done.
    pub concurrency: usize,
    /// A check that takes longer fails.
    pub check_time_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scratch: KeyPrefix::all(),
            listed_objects: 10_000,
            large_object_bytes: 64 << 20,
            creators: 32,
            rounds: 8,
            concurrency: 32,
            check_time_max: Duration::from_secs(600),
        }
    }
}

type CheckFn = for<'a> fn(&'a Context) -> BoxFuture<'a, Result<(), Stop>>;

struct Check {
    name: &'static str,
    promise: &'static str,
    run: CheckFn,
}

macro_rules! checks {
    ($($name:literal, $promise:literal, $run:path;)*) => {
        &[$(Check { name: $name, promise: $promise, run: |context| $run(context).boxed() }),*]
    };
}

const CHECKS: &[Check] = checks! {
    "capabilities", "says plausible things about itself", limits::capabilities;
    "round-trip", "gives back what was put, with its size", content::round_trip;
    "empty-object", "keeps an object without bytes", content::empty;
    "ranges", "cuts ranges at the end of the object", content::ranges;
    "large-object", "takes an object in many buffers", content::large;
    "streamed-object", "takes a stream; nothing is visible before its end", content::streamed;
    "failing-stream", "leaves nothing of a put that failed", content::failing_stream;
    "create-existing", "refuses to create what exists, and keeps it", create::existing;
    "create-race", "lets exactly one of many creators win", create::race;
    "create-visibility", "shows a new object whole or not at all", create::visibility;
    "replace", "replaces in either direction of size", replace::sizes;
    "replace-visibility", "shows the old object or the new one", replace::visibility;
    "missing-object", "reports a missing object as not found", removal::missing;
    "delete", "deletes, also what is not there, and frees the key", removal::delete;
    "longest-key", "takes every character and length that a key may have", limits::longest_key;
    "list-after-put", "lists what was put and not what was deleted", listing::after_put;
    "list-prefix", "takes a prefix as whole segments", listing::prefix;
    "list-complete", "lists every object once", listing::complete;
    "list-while-writing", "lists steady objects while others come and go", listing::while_writing;
};

/// Checks `target` against all that a target promises.
pub async fn run(target: SharedTarget, runtime: &Runtime, options: &Options) -> Report {
    let place = target.to_string();
    let context = match Context::new(target, runtime, options) {
        Ok(context) => context,
        Err(stop) => return Report::refused(place, stop.into()),
    };
    let mut report = Report::new(place, context.area().to_string());
    for check in CHECKS {
        report.checks.push(run_one(check, &context).await);
    }
    let tidy = Check {
        name: "clean-up",
        promise: "nothing of these checks stays behind",
        run: |context| tidy_up(context).boxed(),
    };
    report.checks.push(run_one(&tidy, &context).await);
    report
}

async fn run_one(check: &Check, context: &Context) -> CheckResult {
    let clock = &context.runtime().clock;
    let began = clock.monotonic();
    let limit = context.options().check_time_max;
    // A broken backend may panic in the middle; nothing of it is used again but the target,
    // which must stand that anyway.
    let guarded = AssertUnwindSafe((check.run)(context)).catch_unwind();
    let outcome = match future::select(guarded, clock.sleep(limit)).await {
        Either::Left((Ok(Ok(())), _)) => CheckOutcome::Pass,
        Either::Left((Ok(Err(stop)), _)) => stop.into(),
        Either::Left((Err(panic), _)) => CheckOutcome::Fail(panic_text(&*panic)),
        Either::Right(_) => CheckOutcome::Fail(format!("no end after {limit:?}")),
    };
    let took = clock.monotonic().saturating_sub(began);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    CheckResult { name: check.name, promise: check.promise, outcome, millis }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

/// Deletes what checks left, also those that failed half-way.
async fn tidy_up(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    let left = target.list_all(context.area()).await?;
    let keys = left.into_iter().map(|object| object.key).collect();
    target.delete_many(keys, context.options().concurrency).await?;
    let still = target.list_all(context.area()).await?.len();
    context::ensure(still == 0, || format!("{still} objects are still listed after their delete"))
}

fn scratch_name(runtime: &Runtime) -> String {
    format!("conformance-{:016x}", u64::from_le_bytes(random(&*runtime.randomness)))
}

#[cfg(test)]
mod tests;
