//! Is it true: the binary against real files, damage, crashes and the outside world.
//!
//! Everything is under `tests/it`, one test binary with a module for each promise:
//! `tests/it/support` holds what the tests share, `tests/it/tidy` checks the source tree itself.
//! Nothing here sees private items: a test knows the command line, the library's public API and
//! the documented format.
