//! Which snapshots are worth keeping, and the reason for each.
//!
//! Knows nothing of where they are.

use std::{fmt, str::FromStr};

use super::{
    calendar::{Period, Slot},
    span::Span,
};

/// How many of something are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most this many.
    AtMost(u32),
    /// All of them.
    Unlimited,
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Count {
    /// True if there is one left.
    pub(super) fn is_left(self) -> bool {
        self != Self::AtMost(0)
    }

    /// One less.
    pub(super) fn less_one(self) -> Self {
        match self {
            Self::AtMost(count) => Self::AtMost(count.saturating_sub(1)),
            Self::Unlimited => Self::Unlimited,
        }
    }
}

/// Text that is not a count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number or `unlimited`")]
pub struct ParseCountError;

impl FromStr for Count {
    type Err = ParseCountError;

    fn from_str(text: &str) -> Result<Self, ParseCountError> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let count = text.parse().map_err(|_| ParseCountError)?;
        if is_plain { Ok(Self::AtMost(count)) } else { Err(ParseCountError) }
    }
}

/// What to keep of each group of snapshots: everything that at least one of the rules names.
///
/// Of the snapshots in one hour, day, week, month or year the newest stands for it. The oldest of
/// a group is kept as well while a count is not used up, so that the past reaches as far back as
/// it can.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The newest ones.
    pub last: Count,
    /// One for each of the newest hours that have any.
    pub hourly: Count,
    /// One for each of the newest days that have any.
    pub daily: Count,
    /// One for each of the newest ISO weeks that have any.
    pub weekly: Count,
    /// One for each of the newest months that have any.
    pub monthly: Count,
    /// One for each of the newest years that have any.
    pub yearly: Count,
    /// All that are less than this older than the newest of the group.
    pub within: Option<Span>,
    /// One for each hour, within this span before the newest of the group.
    pub within_hourly: Option<Span>,
    /// One for each day, likewise.
    pub within_daily: Option<Span>,
    /// One for each ISO week, likewise.
    pub within_weekly: Option<Span>,
    /// One for each month, likewise.
    pub within_monthly: Option<Span>,
    /// One for each year, likewise.
    pub within_yearly: Option<Span>,
    /// All that have every tag of at least one of these sets.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// True if it keeps nothing at all.
    pub fn is_empty(&self) -> bool {
        let has_count = self.last.is_left() || self.counts().iter().any(|(_, n)| n.is_left());
        let has_span = self.within.is_some() || self.spans().iter().any(|(_, s)| s.is_some());
        !has_count && !has_span && self.tags.is_empty()
    }

    /// The counts of periods.
    pub(super) fn counts(&self) -> [(Period, Count); 5] {
        [
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }

    /// The spans of periods.
    pub(super) fn spans(&self) -> [(Period, Option<Span>); 5] {
        [
            (Period::Hour, self.within_hourly),
            (Period::Day, self.within_daily),
            (Period::Week, self.within_weekly),
            (Period::Month, self.within_monthly),
            (Period::Year, self.within_yearly),
        ]
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody holds it.
    Held,
    /// It has all tags of this set.
    Tagged(Vec<String>),
    /// It is less than this older than the newest of its group.
    Within(Span),
    /// It is one of the newest.
    Last,
    /// It stands for a period of the calendar.
    Period {
        /// The unit.
        unit: Period,
        /// Which one.
        slot: Slot,
        /// The span that the period lies in, if one was asked for.
        within: Option<Span>,
        /// Whether it is not the newest of the period but the oldest of all.
        is_oldest: bool,
    },
    /// No rule keeps anything of the group: this is its newest.
    LastOfGroup,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Tagged(tags) => write!(f, "tagged {}", tags.join(",")),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Last => f.write_str("last snapshot"),
            Self::Period { unit, slot, within, is_oldest } => {
                let oldest = if *is_oldest { "oldest " } else { "" };
                write!(f, "{oldest}{} snapshot of {slot}", unit.adverb())?;
                within.map_or(Ok(()), |span| write!(f, " within {span}"))
            }
            Self::LastOfGroup => f.write_str("last of its group"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_plain_numbers() {
        assert_eq!("7".parse(), Ok(Count::AtMost(7)));
        assert_eq!("0".parse(), Ok(Count::AtMost(0)));
        assert_eq!("unlimited".parse(), Ok(Count::Unlimited));
        for wrong in ["", "-1", "+1", "all", "1.5", "99999999999", " 1"] {
            assert_eq!(wrong.parse::<Count>(), Err(ParseCountError), "{wrong:?}");
        }
    }

    #[test]
    fn a_policy_of_nothing_is_empty() {
        assert!(Policy::default().is_empty());
        let kept = [
            Policy { last: Count::AtMost(1), ..Policy::default() },
            Policy { yearly: Count::Unlimited, ..Policy::default() },
            Policy { within: "1d".parse().ok(), ..Policy::default() },
            Policy { within_weekly: "1d".parse().ok(), ..Policy::default() },
            Policy { tags: vec![vec!["x".to_owned()]], ..Policy::default() },
        ];
        assert!(kept.iter().all(|policy| !policy.is_empty()));
    }
}
