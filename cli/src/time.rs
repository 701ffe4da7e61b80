//! Times as people write and read them.
//!
//! Knows nothing of snapshots.

use std::time::Duration;

use jiff::{Timestamp as Instant, civil, tz::TimeZone};
use strongroom_core::runtime::Timestamp;

/// Reads a time: RFC 3339 (`2026-01-15T14:30:00Z`, `2026-01-15 14:30:00+02:00`), or a date with
/// or without a time of the local zone (`2026-01-15 14:30`, `2026-01-15`).
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let nanoseconds = i64::try_from(nanoseconds(text)?)
        .map_err(|_| "only the years 1678 to 2261 can be stored".to_owned())?;
    Ok(Timestamp(nanoseconds))
}

/// As [`parse`], for times that are only compared: those that cannot be stored are before or
/// after all that can.
pub fn parse_limit(text: &str) -> Result<Timestamp, String> {
    let clamped = nanoseconds(text)?.clamp(i64::MIN.into(), i64::MAX.into());
    Ok(Timestamp(i64::try_from(clamped).unwrap_or(i64::MAX)))
}

fn nanoseconds(text: &str) -> Result<i128, String> {
    let instant = text.parse::<Instant>().or_else(|_| parse_local(text, TimeZone::system()))?;
    Ok(instant.as_nanosecond())
}

fn parse_local(text: &str, zone: TimeZone) -> Result<Instant, String> {
    let expected = || {
        "expected a time as 2026-01-15T14:30:00Z, 2026-01-15T14:30:00+02:00, \
         \"2026-01-15 14:30:00\" or 2026-01-15 (local)"
            .to_owned()
    };
    let local: civil::DateTime = text.parse().map_err(|_| expected())?;
    zone.to_ambiguous_zoned(local)
        .compatible()
        .map(|zoned| zoned.timestamp())
        .map_err(|_| expected())
}

/// The time for programs: RFC 3339 in UTC.
pub fn rfc3339(time: Timestamp) -> String {
    instant(time).to_string()
}

/// The time for people: local zone, whole seconds.
pub fn local(time: Timestamp) -> String {
    local_in(time, TimeZone::system())
}

/// The time for people in `zone`, whole seconds.
pub fn local_in(time: Timestamp, zone: TimeZone) -> String {
    instant(time).to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Seconds and nanoseconds since 1970 for programs; years that RFC 3339 cannot write are cut to
/// the nearest that it can.
pub fn rfc3339_parts(seconds: i64, nanoseconds: u32) -> String {
    instant_of(seconds, nanoseconds).to_string()
}

/// Seconds since 1970 for people.
pub fn local_parts(seconds: i64, nanoseconds: u32) -> String {
    let zoned = instant_of(seconds, nanoseconds).to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The fields of a time in the local zone, for formats that store local time.
pub fn local_fields(seconds: i64) -> civil::DateTime {
    instant_of(seconds, 0).to_zoned(TimeZone::system()).datetime()
}

fn instant(time: Timestamp) -> Instant {
    let (seconds, nanoseconds) = time.parts();
    instant_of(seconds, nanoseconds)
}

fn instant_of(seconds: i64, nanoseconds: u32) -> Instant {
    let nearest = if seconds < 0 { Instant::MIN } else { Instant::MAX };
    let Ok(whole) = Instant::from_second(seconds) else { return nearest };
    whole.checked_add(Duration::from_nanos(u64::from(nanoseconds))).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_PAST: Timestamp = Timestamp(1_768_487_400_000_000_000);

    #[test]
    fn times_with_an_offset_are_absolute() {
        for text in ["2026-01-15T14:30:00Z", "2026-01-15T16:30:00+02:00", "2026-01-15 14:30:00Z"] {
            assert_eq!(parse(text), Ok(HALF_PAST), "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59.5Z"), Ok(Timestamp(-500_000_000)));
    }

    #[test]
    fn times_without_an_offset_are_local() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for text in ["2026-01-15 16:30:00", "2026-01-15T16:30", "2026-01-15T16:30:00.0"] {
            let instant = parse_local(text, zone.clone()).unwrap();
            assert_eq!(instant.as_nanosecond(), i128::from(HALF_PAST.0), "{text}");
        }
        let midnight = parse_local("2026-01-15", zone.clone()).unwrap();
        assert_eq!(midnight.to_string(), "2026-01-14T22:00:00Z");
        assert_eq!(local_in(HALF_PAST, zone), "2026-01-15 16:30:00");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "2026-02-30", "14:30", "1500-01-01T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_may_lie_beyond_what_can_be_stored() {
        assert_eq!(parse_limit("2999-01-01T00:00:00Z"), Ok(Timestamp(i64::MAX)));
        assert_eq!(parse_limit("1500-01-01T00:00:00Z"), Ok(Timestamp(i64::MIN)));
        assert_eq!(parse_limit("2026-01-15T14:30:00Z"), Ok(HALF_PAST));
        assert!(parse_limit("never").is_err());
    }

    #[test]
    fn any_stored_time_can_be_printed() {
        assert_eq!(rfc3339(HALF_PAST), "2026-01-15T14:30:00Z");
        assert_eq!(rfc3339(Timestamp(-1)), "1969-12-31T23:59:59.999999999Z");
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            assert!(rfc3339_parts(seconds, 999_999_999).contains('T'));
            assert!(local_parts(seconds, 0).contains(':'));
            let _ = local_fields(seconds);
        }
    }
}
