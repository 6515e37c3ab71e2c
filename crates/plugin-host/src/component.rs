//! What can be said of a component before anything is compiled: is it one, is it valid, what does it import and export.

use crate::bindings::{Contract, IMPORTS, RULE};
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

/// What a component exports as its rule.
#[derive(Debug)]
pub(crate) struct RuleExport {
    /// The export's full name.
    pub(crate) name: String,
    /// What it was built against.
    pub(crate) contract: Contract,
}

/// Checks bytes from outside. What passes is a valid component that imports nothing but ours and exports our interface
/// in a version that we know.
pub(crate) fn check(wasm: &[u8]) -> Result<RuleExport, LoadError> {
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
    for import in imports {
        if !import.is_instance || !IMPORTS.iter().any(|ours| version_of(&import.name, ours).is_some()) {
            return Err(LoadError::UnknownImport(import.name));
        }
        for ours in IMPORTS {
            contract_of(&import.name, ours)?;
        }
    }
    for name in exports {
        if let Some(contract) = contract_of(&name, RULE)? {
            return Ok(RuleExport { name, contract });
        }
    }
    Err(LoadError::MissingExport(RULE.into()))
}

struct Import {
    name: String,
    is_instance: bool,
}

/// The version in `name` when it is `interface@version`.
fn version_of(name: &str, interface: &str) -> Option<semver::Version> {
    semver::Version::parse(name.strip_prefix(interface)?.strip_prefix('@')?).ok()
}

/// The contract that `name` belongs to when it is `interface@version`; an error when that version is not known here.
fn contract_of(name: &str, interface: &str) -> Result<Option<Contract>, LoadError> {
    version_of(name, interface)
        .map(|version| Contract::of(&version).ok_or_else(|| LoadError::UnknownContract(name.into())))
        .transpose()
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
    fn every_patch_of_a_known_minor_is_taken_and_nothing_else() {
        let found = |name: &str| contract_of(name, "drover:plugin/log").map_err(|error| error.to_string());
        for (name, expected) in [
            ("drover:plugin/log@1.0.0", Some(Contract::V1_0)),
            ("drover:plugin/log@1.0.7", Some(Contract::V1_0)),
            ("drover:plugin/log@1.1.3", Some(Contract::V1_1)),
            ("drover:plugin/log@1", None),
            ("drover:plugin/log", None),
            ("drover:plugin/logs@1.0.0", None),
            ("wasi:cli/environment@1.0.0", None),
        ] {
            assert_eq!(found(name), Ok(expected), "{name}");
        }
        for name in ["log@1.2.0", "log@2.0.0", "log@0.1.0", "log@1.0.0-rc.1"] {
            let name = format!("drover:plugin/{name}");
            let wrong = found(&name).unwrap_err();
            assert!(wrong.contains(&name) && wrong.contains("1.0, 1.1"), "{wrong}");
        }
    }
}
