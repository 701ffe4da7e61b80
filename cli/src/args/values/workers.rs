//! Numbers of threads.

const WORKERS_MAX: usize = 256;

/// 1 to 256.
pub fn parse(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=WORKERS_MAX).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {WORKERS_MAX}")),
    }
}

/// What is used if the user does not say: one a processor.
pub fn default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(parse("8"), Ok(8));
        for wrong in ["", "0", "257", "-1", "many"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!((1..=WORKERS_MAX).contains(&default()));
    }
}
