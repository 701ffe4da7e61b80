//! A target in memory: for tests, simulations and as the reference of behaviour.
