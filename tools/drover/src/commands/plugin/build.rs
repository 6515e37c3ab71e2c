//! `drover plugin build`.

mod c;
mod javascript;
mod python;
mod rust;

use crate::failure::Failure;
use crate::output;
use serde::Deserialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_component::{ComponentEncoder, DecodedWasm};

/// What a plugin may import without asking: it holds only types.
const TYPES: &str = "types";
/// Of a component's file: everyone may read it.
const MODE: u32 = 0o644;

/// Build a project into a component
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin build
  drover plugin build my-rule
  drover plugin build my-rule --out components/my-rule.wasm

A project is a folder with a plugin.toml, as `drover plugin new` makes it. The component is written into it, as
<name>.wasm. What a language needs:
  rust        cargo, and once: rustup target add wasm32-unknown-unknown
  javascript  Node, and once in the project: npm install
  python      componentize-py: pip install -r requirements.txt
  c           zig (pip install ziglang), or clang with lld
What is not on the path is named by DROVER_JCO, DROVER_COMPONENTIZE_PY, DROVER_ZIG.")]
pub(crate) struct Build {
    /// The project: a folder with plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// Write the component there [default: <name>.wasm in the project]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Rust: keep what cargo builds there [default: target in the project]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,

    /// Rust: build with this profile of cargo's
    #[arg(long, value_name = "PROFILE", default_value = RELEASE)]
    profile: String,
}

/// As cargo calls it.
const RELEASE: &str = "release";

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
        let component = self.component()?;
        let bytes = std::fs::metadata(&component)?.len();
        output::say(&format!("built {} ({bytes} bytes)", component.display()))?;
        Ok(())
    }
}

/// Builds the project and answers where its component is.
pub(super) fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let profile = RELEASE.to_owned();
    Build { folder: folder.to_owned(), out: None, target_dir: None, profile }.component()
}

impl Build {
    fn component(&self) -> Result<PathBuf, Failure> {
        let folder = &self.folder;
        let path = folder.join("plugin.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let what = "this is no plugin's project; `drover plugin new` makes one";
            Failure::Usage(format!("cannot read {}: {error}: {what}", path.display()))
        })?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| Failure::Usage(format!("{} is wrong: {error}", path.display())))?;
        let component = match Language::of(folder)? {
            Language::Rust => rust::component(folder, &manifest.name, self.target_dir.as_deref(), &self.profile)?,
            Language::JavaScript => javascript::component(folder)?,
            Language::Python => python::component(folder)?,
            Language::C => c::component(folder)?,
        };
        check_imports(&component, &manifest)?;
        let file = self.out.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", manifest.name)));
        written(&component, &file).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        Ok(file)
    }
}

/// Whoever reads the file meanwhile sees the old one or the new one.
fn written(component: &[u8], file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(component)?;
    temporary.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
    temporary.persist(file)?;
    Ok(())
}

/// What a project is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    JavaScript,
    Python,
    C,
}

impl Language {
    fn of(folder: &Path) -> Result<Self, Failure> {
        let files =
            [("Cargo.toml", Self::Rust), ("rule.js", Self::JavaScript), ("rule.py", Self::Python), ("rule.c", Self::C)];
        let found = files.into_iter().find(|(file, _)| folder.join(file).is_file());
        found.map(|(_, language)| language).ok_or_else(|| {
            let named = files.map(|(file, _)| file).join(", ");
            Failure::Usage(format!("{} holds none of {named}: in what is it written?", folder.display()))
        })
    }
}

/// Runs a tool, which says itself what is wrong. `missing` says how to get it.
fn run(command: &mut Command, missing: &str) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Failed(format!("{program} ended with {status}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::Usage(format!("{program} is not there: {missing}")))
        }
        Err(error) => Err(Failure::Failed(format!("{program} cannot be started: {error}"))),
    }
}

/// The text of the contract in a project.
fn contract(folder: &Path) -> PathBuf {
    folder.join("sdk/wit/v1.1/plugin.wit")
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

/// A section of the module says which world it is for: the encoder finds it there.
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
