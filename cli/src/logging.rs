//! What the engine says step by step, for people who look for the cause of something.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    env,
    error::{Failure, Result},
};

/// With `-vv`, or what STRONGROOM_LOG asks for.
const DETAILED: &str = "strongroom=debug,strongroom_core=debug,strongroom_sources=debug,\
                        strongroom_backends=debug,strongroom_local=debug";

/// Starts to log to standard error, if the user wants that.
pub fn start(verbose: u8) -> Result<()> {
    let wanted = env::variable(env::LOG).map(|filter| filter.to_string_lossy().into_owned());
    let filter = match (wanted, verbose) {
        (Some(filter), _) => filter,
        (None, 2..) => DETAILED.to_owned(),
        (None, _) => return Ok(()),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse(&filter)
        .map_err(|error| Failure::usage(format!("{}: {filter:?}: {error}", env::LOG)))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only one may be set, and nobody else does.
    let _ = subscriber.try_init();
    Ok(())
}
