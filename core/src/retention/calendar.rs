//! Hours, days, ISO weeks, months and years of a time zone.
//!
//! Knows nothing of snapshots.

use std::fmt;

use jiff::{Timestamp as Instant, tz::TimeZone};

use crate::runtime::Timestamp;

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A clock hour; where clocks are set back, the repeated hour is another one.
    Hour,
    /// A day from midnight to midnight.
    Day,
    /// An ISO 8601 week: from Monday, in the year of its Thursday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// `hourly`, `daily` and so on.
    pub const fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// The period of this unit that `time` lies in, where `zone` holds.
    pub(super) fn of(self, time: Timestamp, zone: &TimeZone) -> Slot {
        let local = instant(time).to_zoned(zone.clone());
        let date = local.date();
        let (year, month) = (date.year(), date.month());
        match self {
            Self::Hour => Slot::Hour {
                year,
                month,
                day: date.day(),
                hour: local.hour(),
                offset_seconds: local.offset().seconds(),
            },
            Self::Day => Slot::Day { year, month, day: date.day() },
            Self::Week => {
                let week = date.iso_week_date();
                Slot::Week { year: week.year(), week: week.week() }
            }
            Self::Month => Slot::Month { year, month },
            Self::Year => Slot::Year { year },
        }
    }
}

/// One hour, day, week, month or year of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// An hour of a day; the offset tells hours that the clocks show twice apart.
    Hour {
        /// Year.
        year: i16,
        /// Month, from 1.
        month: i8,
        /// Day of the month, from 1.
        day: i8,
        /// Hour of the day, from 0.
        hour: i8,
        /// Seconds east of UTC.
        offset_seconds: i32,
    },
    /// A day.
    Day {
        /// Year.
        year: i16,
        /// Month, from 1.
        month: i8,
        /// Day of the month, from 1.
        day: i8,
    },
    /// An ISO week.
    Week {
        /// Year of the week, which is not always that of the day.
        year: i16,
        /// Number of the week, from 1.
        week: i8,
    },
    /// A month.
    Month {
        /// Year.
        year: i16,
        /// Month, from 1.
        month: i8,
    },
    /// A year.
    Year {
        /// Year.
        year: i16,
    },
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hour { year, month, day, hour, offset_seconds } => {
                let sign = if *offset_seconds < 0 { '-' } else { '+' };
                let minutes = offset_seconds.unsigned_abs() / 60;
                let (hours, minutes) = (minutes / 60, minutes % 60);
                write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:00 ")?;
                write!(f, "{sign}{hours:02}:{minutes:02}")
            }
            Self::Day { year, month, day } => write!(f, "{year:04}-{month:02}-{day:02}"),
            Self::Week { year, week } => write!(f, "{year:04}-W{week:02}"),
            Self::Month { year, month } => write!(f, "{year:04}-{month:02}"),
            Self::Year { year } => write!(f, "{year:04}"),
        }
    }
}

/// `time` as the calendar's library has it; every time that can be stored is one of its own.
pub(super) fn instant(time: Timestamp) -> Instant {
    let nearest = if time.0 < 0 { Instant::MIN } else { Instant::MAX };
    Instant::from_nanosecond(i128::from(time.0)).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(time: &str, zone: &TimeZone) -> Vec<String> {
        let time: Instant = time.parse().unwrap();
        let time = Timestamp(i64::try_from(time.as_nanosecond()).unwrap());
        let units = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
        units.iter().map(|unit| unit.of(time, zone).to_string()).collect()
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let week = |time: &str| slots(time, &TimeZone::UTC)[2].clone();
        let cases = [
            ("2015-12-31T12:00:00Z", "2015-W53"),
            ("2016-01-03T23:59:59Z", "2015-W53"),
            ("2016-01-04T00:00:00Z", "2016-W01"),
            ("2018-12-31T00:00:00Z", "2019-W01"),
            ("2020-12-31T00:00:00Z", "2020-W53"),
            ("2021-01-03T00:00:00Z", "2020-W53"),
            ("2024-12-30T00:00:00Z", "2025-W01"),
            ("2027-01-01T00:00:00Z", "2026-W53"),
        ];
        for (time, expected) in cases {
            assert_eq!(week(time), expected, "{time}");
        }
    }

    #[test]
    fn an_hour_that_clocks_show_twice_is_two() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let first = slots("2026-10-25T00:30:00Z", &zone);
        let second = slots("2026-10-25T01:30:00Z", &zone);
        assert_eq!(first[0], "2026-10-25 02:00 +02:00");
        assert_eq!(second[0], "2026-10-25 02:00 +01:00");
        assert_eq!(first[1..], second[1..]);
        // 02:00 does not exist on the day that clocks are set forward
        assert_eq!(slots("2026-03-29T00:59:59Z", &zone)[0], "2026-03-29 01:00 +01:00");
        assert_eq!(slots("2026-03-29T01:00:00Z", &zone)[0], "2026-03-29 03:00 +02:00");
    }

    #[test]
    fn the_zone_decides_which_day_it_is() {
        let time = "2025-12-31T23:30:00Z";
        let east = slots(time, &TimeZone::fixed(jiff::tz::offset(14)));
        let west = slots(time, &TimeZone::fixed(jiff::tz::offset(-11)));
        let expected = ["2026-01-01 13:00 +14:00", "2026-01-01", "2026-W01", "2026-01", "2026"];
        assert_eq!(east, expected);
        let expected = ["2025-12-31 12:00 -11:00", "2025-12-31", "2026-W01", "2025-12", "2025"];
        assert_eq!(west, expected);
        let kathmandu = TimeZone::posix("<+0545>-5:45").unwrap();
        assert_eq!(slots(time, &kathmandu)[0], "2026-01-01 05:00 +05:45");
    }

    #[test]
    fn every_time_that_can_be_stored_has_its_place() {
        for time in [i64::MIN, -1, 0, i64::MAX] {
            for unit in [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year] {
                assert!(!unit.of(Timestamp(time), &TimeZone::UTC).to_string().is_empty());
            }
            assert_eq!(instant(Timestamp(time)).as_nanosecond(), i128::from(time));
        }
    }
}
