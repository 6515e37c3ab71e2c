//! What is served about vehicles, kept in memory from what the actors say.

pub mod latest;
