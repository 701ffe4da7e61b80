//! Time zones.

use jiff::tz::TimeZone;

/// A time zone with the name that it goes by.
#[derive(Debug, Clone)]
pub struct Zone {
    /// For people.
    pub name: String,
    /// Its rules.
    pub rules: TimeZone,
}

impl Zone {
    /// The system's.
    pub fn system() -> Self {
        let rules = TimeZone::system();
        let name = rules.iana_name().unwrap_or("the system's time zone").to_owned();
        Self { name, rules }
    }
}

/// A name of the time zone database, or rules as the variable TZ has them (`CET-1CEST,M3.5.0,...`).
pub fn parse(text: &str) -> Result<Zone, String> {
    let rules = TimeZone::get(text).or_else(|_| TimeZone::posix(text)).map_err(|_| {
        "expected the name of a time zone that this machine knows, as Europe/Berlin or UTC"
            .to_owned()
    })?;
    Ok(Zone { name: text.to_owned(), rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_or_rules() {
        assert_eq!(parse("UTC").unwrap().rules, TimeZone::UTC);
        assert!(parse("CET-1CEST,M3.5.0,M10.5.0/3").is_ok());
        for wrong in ["", "Mars/Olympus", "+", "../../etc/passwd"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(!Zone::system().name.is_empty());
    }
}
