//! What every check has at hand, and how it ends early.

use bytes::Bytes;

use super::{CheckOutcome, Options, scratch_name};
use crate::{
    runtime::Runtime,
    target::{InvalidKey, KeyPrefix, ObjectKey, SharedTarget, TargetError, TargetErrorKind},
};

/// Why a check ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The promise is broken.
    Broken(String),
    /// The promise does not apply.
    Skipped(String),
}

impl From<TargetError> for Stop {
    fn from(error: TargetError) -> Self {
        Self::Broken(format!("unexpected error: {error} ({:?})", error.kind()))
    }
}

impl From<InvalidKey> for Stop {
    fn from(error: InvalidKey) -> Self {
        Self::Skipped(error.to_string())
    }
}

impl From<Stop> for CheckOutcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Broken(why) => Self::Fail(why),
            Stop::Skipped(why) => Self::Skip(why),
        }
    }
}

/// Stops the check as broken unless `holds`.
pub(super) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Broken(why())) }
}

/// Stops the check unless `result` is an error of `kind`.
pub(super) fn ensure_kind<T>(
    result: Result<T, TargetError>,
    kind: TargetErrorKind,
    what: &str,
) -> Result<(), Stop> {
    match result {
        Ok(_) => Err(Stop::Broken(format!("{what} succeeded instead of giving {kind:?}"))),
        Err(error) => ensure(error.kind() == kind, || {
            format!("{what} gave {:?} instead of {kind:?}: {error}", error.kind())
        }),
    }
}

/// Stops the check unless both are equal; long contents are not printed.
pub(super) fn ensure_bytes(found: &[u8], expected: &[u8], what: &str) -> Result<(), Stop> {
    ensure(found.len() == expected.len(), || {
        format!("{what}: {} bytes instead of {}", found.len(), expected.len())
    })?;
    ensure(found == expected, || {
        let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        format!("{what}: differs from byte {at} on")
    })
}

/// The target, the place to work in, and the settings.
pub(super) struct Context {
    target: SharedTarget,
    area: KeyPrefix,
    runtime: Runtime,
    options: Options,
}

impl Context {
    pub(super) fn new(
        target: SharedTarget,
        runtime: &Runtime,
        options: &Options,
    ) -> Result<Self, Stop> {
        let folder = ObjectKey::parse(&scratch_name(runtime))?;
        let area = options
            .scratch
            .join(&folder)
            .and_then(|area| KeyPrefix::parse(area.as_str()))
            .map_err(|error| Stop::Broken(error.to_string()))?;
        Ok(Self { target, area, runtime: runtime.clone(), options: options.clone() })
    }

    pub(super) fn target(&self) -> &SharedTarget {
        &self.target
    }

    pub(super) fn area(&self) -> &KeyPrefix {
        &self.area
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// The key `name` inside the scratch area.
    pub(super) fn key(&self, name: &str) -> Result<ObjectKey, Stop> {
        Ok(self.area.join(&ObjectKey::parse(name)?)?)
    }

    /// The prefix `name` inside the scratch area.
    pub(super) fn prefix(&self, name: &str) -> Result<KeyPrefix, Stop> {
        Ok(KeyPrefix::parse(self.key(name)?.as_str())?)
    }

    /// Random content, so that no storage passes by compressing or by remembering.
    pub(super) fn content(&self, length: usize) -> Bytes {
        let mut content = vec![0; length];
        self.runtime.randomness.fill(&mut content);
        content.into()
    }
}
