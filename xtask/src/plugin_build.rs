//! `cargo xtask build-plugins`: plugins as components, under `<target dir>/plugins/`.
//!
//! A plugin is a folder with a manifest, `plugin.toml`, and a package of the same name. Ours are in `plugins/` and belong
//! to the workspace; anyone else's may lie anywhere. It is compiled for `wasm32-unknown-unknown` and wrapped into a
//! component by the library that the usual tools are made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::{setup, workspace};

const TARGET: &str = "wasm32-unknown-unknown";
/// The environment variable from which a plugin takes a version other than its package's.
const VERSION_VARIABLE: &str = "DROVER_PLUGIN_VERSION";
/// The interfaces that a plugin may import without asking: they hold only types.
const TYPE_INTERFACES: [&str; 1] = ["types"];

/// The example that shows authors how: outside the workspace, as theirs is.
pub(crate) const EXAMPLE: &str = "examples/hello-geofence";

/// Build plugins as WebAssembly components.
///
/// A plugin is a folder with a `plugin.toml` and a Rust package that uses plugin-sdk; copy examples/hello-geofence to
/// begin your own. The component is written to <target dir>/plugins/<name>.wasm, ready for `drover deploy --plugin`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of plugins; without any, ours in plugins/
    folders: Vec<PathBuf>,
}

/// What stands in `plugin.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    /// The interfaces that it wants of the host.
    wants: Vec<String>,
    // The rest is for people and for the registry.
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
}

/// Builds the plugins.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure_wasm()?;
    for folder in &args.folders {
        println!("built {}", build_folder(folder)?.display());
    }
    if args.folders.is_empty() {
        for name in plugins()? {
            println!("built {}", build_plugin(&name, None)?.display());
        }
    }
    Ok(())
}

/// Builds one plugin and returns its component. With a version it calls itself so, and lies beside the one without.
/// Cargo decides what is to be compiled; nothing is when nothing changed.
pub(crate) fn build_plugin(name: &str, version: Option<&str>) -> Result<PathBuf> {
    let manifest = manifest(&workspace::root().join("plugins").join(name))?;
    let target = workspace::target_dir()?;
    let components = target.join("plugins");
    // A version of its own has build results of its own, else the two would take turns in being recompiled.
    let build = match version {
        None => target.clone(),
        Some(version) => components.join(format!("build-{version}")),
    };
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--profile", "plugin", "--target", TARGET, "--lib", "-p", name]);
    cargo.arg("--target-dir").arg(&build).env_remove(VERSION_VARIABLE);
    if let Some(version) = version {
        cargo.env(VERSION_VARIABLE, version);
    }
    workspace::run(&mut cargo).with_context(|| {
        format!("could not compile the plugin {name}; if the target {TARGET} is missing: `cargo xtask setup`")
    })?;
    let module = build.join(TARGET).join("plugin").join(format!("{}.wasm", name.replace('-', "_")));
    let file = match version {
        None => format!("{name}.wasm"),
        Some(version) => format!("{name}-{version}.wasm"),
    };
    write_component(&module, &components.join(file), &manifest.wants)
}

/// Builds a plugin that lies anywhere, in a workspace of its own.
pub(crate) fn build_folder(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
    if folder.parent() == Some(&workspace::root().join("plugins").canonicalize()?) {
        return build_plugin(&folder.file_name().unwrap_or_default().to_string_lossy(), None);
    }
    let Manifest { name, wants, .. } = manifest(&folder)?;
    let target = workspace::target_dir()?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--target", TARGET, "--lib", "-p", &name, "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target);
    workspace::run(&mut cargo).with_context(|| format!("could not compile the plugin {name}"))?;
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
    write_component(&module, &target.join("plugins").join(format!("{name}.wasm")), &wants)
}

fn plugins() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("plugins"))? {
        let entry = entry?;
        if entry.path().join("plugin.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join("plugin.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
}

/// Wraps a core module into a component, which must import nothing that its manifest does not want.
fn write_component(module: &Path, component: &Path, wants: &[String]) -> Result<PathBuf> {
    let bytes = fs::read(module).with_context(|| format!("could not read {}", module.display()))?;
    let encoded = encode(&bytes).with_context(|| format!("{} can't become a component", module.display()))?;
    check_imports(&encoded, wants).with_context(|| format!("{} is refused", module.display()))?;
    // An unchanged file keeps its date.
    if !fs::read(component).is_ok_and(|there| there == encoded) {
        let folder = component.parent().context("a component lies in a folder")?;
        fs::create_dir_all(folder)?;
        // Whoever reads it meanwhile sees the old one or the new one.
        let temporary = component.with_extension(format!("wasm.{}", std::process::id()));
        fs::write(&temporary, &encoded)?;
        fs::rename(&temporary, component)?;
    }
    Ok(component.to_path_buf())
}

/// wit-bindgen has put the world into a section of the module: the encoder finds it there.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

fn check_imports(component: &[u8], wants: &[String]) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("it is a WIT package, not a component");
    };
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        let interface = name.strip_prefix("drover:plugin/").and_then(|rest| rest.split('@').next());
        let granted =
            interface.is_some_and(|it| TYPE_INTERFACES.contains(&it) || wants.iter().any(|wanted| wanted == it));
        if !granted {
            bail!("it imports {name}, which its manifest does not want (plugins get no WASI)");
        }
    }
    Ok(())
}
