//! How far back, in calendar units: `1y5m7d2h`.
//!
//! Knows nothing of snapshots.

use std::{fmt, str::FromStr};

use jiff::{Timestamp as Instant, ToSpan, tz::TimeZone};

use super::calendar::instant;
use crate::runtime::Timestamp;

/// The largest number of each unit: more than the calendar has.
const UNITS_MAX: u32 = 100_000;

/// Years, months, days and hours. Years, months and days are those of the calendar: a day is
/// 23 or 25 hours long where clocks are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Calendar years.
    pub years: u32,
    /// Calendar months.
    pub months: u32,
    /// Calendar days.
    pub days: u32,
    /// Hours of 60 minutes.
    pub hours: u32,
}

/// Text that is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpanError {
    /// Not numbers with units.
    #[error("expected years, months, days and hours as in 1y5m7d2h")]
    Form,
    /// A unit stands there twice.
    #[error("the unit `{0}` is given twice")]
    Twice(char),
    /// A number is too large.
    #[error("at most {UNITS_MAX} of a unit can be used")]
    TooLarge,
    /// It spans no time at all.
    #[error("it is no time at all")]
    Nothing,
}

impl Span {
    /// The time that lies this far before `end` in `zone`; the earliest time there is where the
    /// calendar does not reach that far. A month back from the 31st is the last day of a shorter
    /// month.
    pub(super) fn before(self, end: Timestamp, zone: &TimeZone) -> Instant {
        let [years, months, days, hours] =
            [self.years, self.months, self.days, self.hours].map(i64::from);
        let earlier = || {
            let dates = 0.years().try_years(years).ok()?.try_months(months).ok()?;
            let dates = dates.try_days(days).ok()?;
            let day = instant(end).to_zoned(zone.clone()).checked_sub(dates).ok()?;
            day.timestamp().checked_sub(0.hours().try_hours(hours).ok()?).ok()
        };
        earlier().unwrap_or(Instant::MIN)
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let mut span = Self::default();
        let mut seen = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let unit = tail.chars().next().ok_or(ParseSpanError::Form)?;
            let slot = match unit {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(ParseSpanError::Form),
            };
            if number.is_empty() {
                return Err(ParseSpanError::Form);
            }
            if seen.contains(&unit) {
                return Err(ParseSpanError::Twice(unit));
            }
            seen.push(unit);
            let number = number.parse().ok().filter(|number| *number <= UNITS_MAX);
            *slot = number.ok_or(ParseSpanError::TooLarge)?;
            rest = tail.get(1..).unwrap_or_default();
        }
        match (text.is_empty(), span == Self::default()) {
            (true, _) => Err(ParseSpanError::Form),
            (false, true) => Err(ParseSpanError::Nothing),
            (false, false) => Ok(span),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        for (number, unit) in units.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    fn back(end: &str, by: &str, zone: &TimeZone) -> String {
        let end: Instant = end.parse().unwrap();
        let end = Timestamp(i64::try_from(end.as_nanosecond()).unwrap());
        span(by).before(end, zone).to_string()
    }

    #[test]
    fn text_round_trips() {
        for text in ["1y", "5m", "7d", "2h", "1y5m7d2h", "100000d"] {
            assert_eq!(span(text).to_string(), text);
        }
        assert_eq!(span("2h1y"), span("1y2h"));
        assert_eq!(span("0y3d"), span("3d"));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        use ParseSpanError as E;
        let cases = [
            ("", E::Form),
            ("3", E::Form),
            ("d", E::Form),
            ("3w", E::Form),
            ("-3d", E::Form),
            ("3d ", E::Form),
            ("3é", E::Form),
            ("3d4d", E::Twice('d')),
            ("0d", E::Nothing),
            ("100001h", E::TooLarge),
            ("99999999999d", E::TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Span>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let utc = TimeZone::UTC;
        let cases = [
            ("2024-03-31T12:00:00Z", "1m", "2024-02-29T12:00:00Z"),
            ("2023-03-31T12:00:00Z", "1m", "2023-02-28T12:00:00Z"),
            ("2024-02-29T12:00:00Z", "1y", "2023-02-28T12:00:00Z"),
            ("2024-02-29T12:00:00Z", "4y", "2020-02-29T12:00:00Z"),
            ("2024-03-01T00:00:00Z", "1d", "2024-02-29T00:00:00Z"),
            ("2026-01-15T01:00:00Z", "1y1m1d2h", "2024-12-13T23:00:00Z"),
        ];
        for (end, by, expected) in cases {
            assert_eq!(back(end, by, &utc), expected, "{end} - {by}");
        }
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2026-03-29 has 23 hours there, 2026-10-25 has 25
        assert_eq!(back("2026-03-29T10:00:00Z", "1d", &zone), "2026-03-28T11:00:00Z");
        assert_eq!(back("2026-10-25T11:00:00Z", "1d", &zone), "2026-10-24T10:00:00Z");
        assert_eq!(back("2026-03-29T10:00:00Z", "24h", &zone), "2026-03-28T10:00:00Z");
    }

    #[test]
    fn before_the_calendar_is_its_beginning() {
        let zone = TimeZone::UTC;
        for by in ["100000y", "100000m100000y100000d100000h", "15000y"] {
            assert_eq!(span(by).before(Timestamp(i64::MIN), &zone), Instant::MIN, "{by}");
        }
    }
}
