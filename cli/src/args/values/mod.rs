//! Values of flags: each file reads one kind of value from text and says what is wrong with it.

pub mod compression;
pub mod name;
pub mod pack;
pub mod path;
pub mod pattern;
pub mod percent;
pub mod seconds;
pub mod size;
pub mod snapshot;
pub mod switch;
pub mod tag;
pub mod unused;
pub mod workers;
pub mod zone;
