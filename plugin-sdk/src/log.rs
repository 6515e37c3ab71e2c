//! Messages to whoever runs the rule. The host limits how much it keeps; outside a component they are dropped.

#[cfg(target_arch = "wasm32")]
use crate::bindings::drover::plugin::log::{Level, write};

/// For the rule's author.
pub fn debug(message: &str) {
    #[cfg(target_arch = "wasm32")]
    write(Level::Debug, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = message;
}

/// Worth knowing.
pub fn info(message: &str) {
    #[cfg(target_arch = "wasm32")]
    write(Level::Info, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = message;
}

/// Somebody should look at it.
pub fn warn(message: &str) {
    #[cfg(target_arch = "wasm32")]
    write(Level::Warn, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = message;
}
