//! What can be said of a component before anything is compiled: is it one, is it valid, what does it import and export.

use crate::bindings::v1;
use crate::limits::UPLOAD_BYTES_MAX;
use crate::load::LoadError;
use wasmparser::{ComponentExternName, ComponentTypeRef, Encoding, Parser, Payload, Validator, WasmFeatures};

/// WebAssembly that runs the same everywhere: no threads, no garbage collector, no 64-bit memories.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::COMPONENT_MODEL
}

/// Checks bytes from outside. What passes is a valid component that imports nothing but ours and exports our interface,
/// whose full name is the answer.
pub(crate) fn check(wasm: &[u8]) -> Result<String, LoadError> {
    if wasm.len() > UPLOAD_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: wasm.len() });
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(LoadError::NotWebAssembly);
    }
    if Parser::is_core_wasm(wasm) {
        return Err(LoadError::CoreModule);
    }
    Validator::new_with_features(features())
        .validate_all(wasm)
        .map_err(|error| LoadError::Invalid(error.to_string()))?;
    let (imports, exports) = interfaces(wasm).map_err(|error| LoadError::Invalid(error.to_string()))?;
    if let Some(unknown) = imports.into_iter().find(|import| !import.is_ours()) {
        return Err(LoadError::UnknownImport(unknown.name));
    }
    let rule = exports.into_iter().find(|name| is_version_1_of(name, v1::RULE));
    rule.ok_or_else(|| LoadError::MissingExport(format!("{}@1", v1::RULE)))
}

struct Import {
    name: String,
    is_instance: bool,
}

impl Import {
    fn is_ours(&self) -> bool {
        self.is_instance && v1::IMPORTS.iter().any(|ours| is_version_1_of(&self.name, ours))
    }
}

/// Whether `name` is `interface@1.x.y`, a release.
fn is_version_1_of(name: &str, interface: &str) -> bool {
    let version = name.strip_prefix(interface).and_then(|rest| rest.strip_prefix('@'));
    let version = version.and_then(|version| semver::Version::parse(version).ok());
    version.is_some_and(|version| version.major == 1 && version.pre.is_empty())
}

/// Imports and exports of the outermost component, and not of those inside it.
fn interfaces(wasm: &[u8]) -> Result<(Vec<Import>, Vec<String>), wasmparser::BinaryReaderError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                debug_assert!(depth > 1 || encoding == Encoding::Component, "checked by the caller");
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import?;
                    let is_instance = matches!(import.ty, ComponentTypeRef::Instance(_));
                    imports.push(Import { name: full_name(import.name), is_instance });
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(full_name(export?.name));
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The name as WIT writes it: encoders may keep the end of a version apart.
fn full_name(name: ComponentExternName<'_>) -> String {
    format!("{}{}", name.name, name.version_suffix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_of_version_1_is_taken() {
        for (name, taken) in [
            ("drover:plugin/log@1.0.0", true),
            ("drover:plugin/log@1.7.3", true),
            ("drover:plugin/log@2.0.0", false),
            ("drover:plugin/log@0.1.0", false),
            ("drover:plugin/log@1.0.0-rc.1", false),
            ("drover:plugin/log@1", false),
            ("drover:plugin/log", false),
            ("drover:plugin/logs@1.0.0", false),
            ("wasi:cli/environment@1.0.0", false),
        ] {
            assert_eq!(is_version_1_of(name, "drover:plugin/log"), taken, "{name}");
        }
    }
}
