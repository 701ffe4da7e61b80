//! What the suite found: for people by `Display`, for programs by serde.

use std::fmt;

use serde::Serialize;

/// The outcome of all checks against one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The target, as it names itself.
    pub target: String,
    /// The prefix below which the checks worked.
    pub scratch: String,
    /// One line a check, in the order in which they ran.
    pub checks: Vec<CheckResult>,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// A short name that stays the same from release to release.
    pub name: &'static str,
    /// What the target promises here: "the target ...".
    pub promise: &'static str,
    /// Whether it keeps the promise.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
    /// How long the check took, in milliseconds.
    pub millis: u64,
}

/// Whether a promise is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "why", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// Yes.
    Pass,
    /// No, and what was seen instead.
    Fail(String),
    /// Not tried, and why.
    Skip(String),
}

impl Report {
    pub(super) fn new(target: String, scratch: String) -> Self {
        Self { target, scratch, checks: Vec::new() }
    }

    /// The checks could not even begin.
    pub(super) fn refused(target: String, outcome: CheckOutcome) -> Self {
        let (name, promise, millis) = ("begin", "has room for the checks' keys", 0);
        let checks = vec![CheckResult { name, promise, outcome, millis }];
        Self { target, scratch: String::new(), checks }
    }

    /// True if no check failed.
    pub fn is_conformant(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Fail(_)))
    }
}

impl fmt::Display for Report {
    /// One line a check, failures with what was seen, and a last line that sums up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))?;
        let failed = self.failures().count();
        match failed {
            0 => write!(f, "{}: all {} checks passed", self.target, self.passed())?,
            _ => write!(f, "{}: {failed} of {} checks failed", self.target, self.checks.len())?,
        }
        match self.checks.len() - failed - self.passed() {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

impl Report {
    fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.outcome == CheckOutcome::Pass).count()
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            CheckOutcome::Pass => "pass",
            CheckOutcome::Fail(_) => "FAIL",
            CheckOutcome::Skip(_) => "skip",
        };
        write!(f, "{word} {:<20} {:>6} ms  {}", self.name, self.millis, self.promise)?;
        match &self.outcome {
            CheckOutcome::Pass => Ok(()),
            CheckOutcome::Fail(why) | CheckOutcome::Skip(why) => write!(f, "\n     {why}"),
        }
    }
}
