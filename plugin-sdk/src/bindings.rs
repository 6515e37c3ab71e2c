//! What wit-bindgen makes of `wit/v1.1`. Not for authors: they see it through the rest of the crate.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../wit/v1.1",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_plugin_world",
    default_bindings_module: "plugin_sdk::bindings",
});
