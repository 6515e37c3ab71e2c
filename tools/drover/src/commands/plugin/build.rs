//! `drover plugin build`.

use crate::failure::Failure;
use crate::output;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_component::{ComponentEncoder, DecodedWasm};

const TARGET: &str = "wasm32-unknown-unknown";
/// What a plugin may import without asking: it holds only types.
const TYPES: &str = "types";

/// Build a project into a component
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin build
  drover plugin build my-rule

A project is a folder with a plugin.toml and a Rust package of the same name. The component is written beside it, as
<name>.wasm. Needs cargo with the target wasm32-unknown-unknown (rustup target add wasm32-unknown-unknown).")]
pub(crate) struct Build {
    /// The project: a folder with plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// What stands in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    /// The interfaces that it wants of the host.
    wants: Vec<String>,
    // The rest is for people.
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
}

impl Build {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let component = build(&self.folder)?;
        let bytes = std::fs::metadata(&component)?.len();
        output::say(&format!("built {} ({bytes} bytes)", component.display()))?;
        Ok(())
    }
}

/// Builds the project and answers where its component is.
pub(super) fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let what = "this is no plugin's project; `drover plugin new` makes one";
        Failure::Usage(format!("cannot read {}: {error}: {what}", path.display()))
    })?;
    let manifest: Manifest =
        toml::from_str(&text).map_err(|error| Failure::Usage(format!("{} is wrong: {error}", path.display())))?;
    let module = compile(folder, &manifest.name)?;
    let bytes = std::fs::read(&module).map_err(|error| Failure::Failed(format!("{}: {error}", module.display())))?;
    let component = wrapped(&bytes)?;
    check_imports(&component, &manifest)?;
    let file = folder.join(format!("{}.wasm", manifest.name));
    std::fs::write(&file, component).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    Ok(file)
}

/// Compiles with cargo, which says itself what is wrong.
fn compile(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let manifest = folder.join("Cargo.toml");
    let target = folder.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--lib", "--target", TARGET, "-p", name]);
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target);
    let status = cargo.status().map_err(|error| {
        Failure::Usage(format!("cannot start cargo: {error}: install Rust (https://rustup.rs), or name it in CARGO"))
    })?;
    if !status.success() {
        let hint = format!("if the target is missing: rustup target add {TARGET}");
        return Err(Failure::Failed(format!("cargo could not build {}: {status}; {hint}", manifest.display())));
    }
    Ok(target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_"))))
}

/// wit-bindgen has put the world into a section of the module: the encoder finds it there.
fn wrapped(module: &[u8]) -> Result<Vec<u8>, Failure> {
    let encoded = ComponentEncoder::default().module(module).and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| Failure::Failed(format!("the module cannot become a component: {error:#}")))
}

fn check_imports(component: &[u8], manifest: &Manifest) -> Result<(), Failure> {
    let decoded = wit_component::decode(component).map_err(|error| Failure::Failed(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(Failure::Failed("it is a WIT package, not a component".to_owned()));
    };
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        let interface = name.strip_prefix("drover:plugin/").and_then(|rest| rest.split('@').next());
        if !interface.is_some_and(|it| it == TYPES || manifest.wants.iter().any(|wanted| wanted == it)) {
            let hint = "a plugin gets no WASI; what it wants of Drover stands in `wants` of plugin.toml";
            return Err(Failure::RefusedHere(format!("it imports {name}, which it does not want: {hint}")));
        }
    }
    Ok(())
}
