//! `drover plugin new`.

use crate::failure::Failure;
use crate::output;
use std::path::PathBuf;

/// Longest name of a plugin.
const NAME_LEN_MAX: usize = 64;
const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that plugin-sdk is built with; a test holds it against the workspace.
const WIT_BINDGEN: &str = "0.61.1";

/// Begin a rule of your own: a project that builds and passes its test at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin new my-fence --kind geofence
  drover plugin new my-tariff --kind pricing
  drover plugin new my-fence --kind geofence --lang javascript

The project holds everything it needs of Drover: the SDK and the contract lie in its folder sdk.")]
pub(crate) struct New {
    /// What the rule is called: lower case letters, digits and hyphens; also the name of the folder
    name: String,

    /// What it is about
    #[arg(long, value_enum)]
    kind: Kind,

    /// The language
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,

    /// The folder to make the project in
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    into: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Where vehicles are
    Geofence,
    /// What their use costs
    Pricing,
    /// What they need from a workshop
    Maintenance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    /// With plugin-sdk
    Rust,
    /// On QuickJS, by jco
    Javascript,
    /// By componentize-py
    Python,
    /// By zig or clang, without a library
    C,
}

impl Language {
    fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Javascript => "rule.js",
            Self::Python => "rule.py",
            Self::C => "rule.c",
        }
    }

    /// The tools of some languages import all that the world has, used or not.
    fn wants(self) -> &'static str {
        match self {
            Self::Rust | Self::C => "",
            Self::Javascript | Self::Python => "\"log\"",
        }
    }

    /// What gets the tools that belong to the project.
    fn first(self) -> Option<&'static str> {
        match self {
            Self::Rust => None,
            Self::Javascript => Some("npm install"),
            Self::Python => Some("pip install -r requirements.txt"),
            Self::C => Some("pip install ziglang"),
        }
    }
}

/// The rule, the schema of its config, a config, a case.
struct Template {
    kind: &'static str,
    files: [(&'static str, &'static str); 4],
}

macro_rules! template {
    ($kind:literal) => {
        Template {
            kind: $kind,
            files: [
                ("src/lib.rs", include_str!(concat!("../../../templates/rust/", $kind, "/lib.rs"))),
                ("config.schema.json", include_str!(concat!("../../../templates/rust/", $kind, "/config.schema.json"))),
                ("config.json", include_str!(concat!("../../../templates/rust/", $kind, "/config.json"))),
                ("cases/first.json", include_str!(concat!("../../../templates/rust/", $kind, "/case.json"))),
            ],
        }
    };
}

/// The same for every kind.
const COMMON: [(&str, &str); 3] = [
    ("plugin.toml", include_str!("../../../templates/plugin.toml.template")),
    ("README.md", include_str!("../../../templates/README.md.template")),
    (".gitignore", include_str!("../../../templates/gitignore.template")),
];
const RUST: [(&str, &str); 2] = [
    ("Cargo.toml", include_str!("../../../templates/rust/Cargo.toml.template")),
    ("sdk/plugin-sdk/Cargo.toml", include_str!("../../../templates/rust/sdk.toml.template")),
];

/// The contract, for every language.
const CONTRACT: (&str, &str) = ("sdk/wit/v1.1/plugin.wit", include_str!("../../../../../wit/v1.1/plugin.wit"));
/// A config and a case of the rule that every language begins with.
const NORTH: [(&str, &str); 2] = [
    ("config.json", include_str!("../../../templates/rust/geofence/config.json")),
    ("cases/first.json", include_str!("../../../templates/rust/geofence/case.json")),
];
const JAVASCRIPT: [(&str, &str); 2] = [
    ("rule.js", include_str!("../../../templates/javascript/rule.js")),
    ("package.json", include_str!("../../../templates/javascript/package.json")),
];
const PYTHON: [(&str, &str); 2] = [
    ("rule.py", include_str!("../../../templates/python/rule.py")),
    ("requirements.txt", include_str!("../../../templates/python/requirements.txt")),
];
const C: [(&str, &str); 2] = [
    ("rule.c", include_str!("../../../templates/c/rule.c")),
    ("drover_plugin.h", include_str!("../../../templates/c/drover_plugin.h")),
];

/// Taken over as they are.
const SDK: [(&str, &str); 9] = [
    ("sdk/examples/hello-geofence/src/lib.rs", include_str!("../../../../../examples/hello-geofence/src/lib.rs")),
    ("sdk/plugin-sdk/src/bindings.rs", include_str!("../../../../../plugin-sdk/src/bindings.rs")),
    ("sdk/plugin-sdk/src/export.rs", include_str!("../../../../../plugin-sdk/src/export.rs")),
    ("sdk/plugin-sdk/src/lib.rs", include_str!("../../../../../plugin-sdk/src/lib.rs")),
    ("sdk/plugin-sdk/src/log.rs", include_str!("../../../../../plugin-sdk/src/log.rs")),
    ("sdk/plugin-sdk/src/proposals.rs", include_str!("../../../../../plugin-sdk/src/proposals.rs")),
    ("sdk/plugin-sdk/src/reading.rs", include_str!("../../../../../plugin-sdk/src/reading.rs")),
    ("sdk/plugin-sdk/src/rows.rs", include_str!("../../../../../plugin-sdk/src/rows.rs")),
    ("sdk/plugin-sdk/src/rule.rs", include_str!("../../../../../plugin-sdk/src/rule.rs")),
];

impl New {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        check_name(&self.name)?;
        let folder = self.into.join(&self.name);
        if folder.exists() {
            return Err(Failure::Usage(format!("{} is there already: choose another name", folder.display())));
        }
        let template = template(self.kind);
        if self.lang != Language::Rust && self.kind != Kind::Geofence {
            let kind = template.kind;
            let what = format!("the other languages begin with a geofence; change its kind to {kind} in describe");
            return Err(Failure::Usage(format!("there is no {kind} to begin with in this language: {what}")));
        }
        let filled = |text: &str| {
            text.replace("{name}", &self.name)
                .replace("{kind}", template.kind)
                .replace("{source}", self.lang.source())
                .replace("{wants}", self.lang.wants())
                .replace("{sdk_version}", SDK_VERSION)
                .replace("{wit_bindgen}", WIT_BINDGEN)
        };
        let own: Vec<(&str, &str)> = match self.lang {
            Language::Rust => RUST.iter().chain(&template.files).copied().collect(),
            Language::Javascript => JAVASCRIPT.iter().chain(&NORTH).copied().collect(),
            Language::Python => PYTHON.iter().chain(&NORTH).copied().collect(),
            Language::C => C.iter().chain(&NORTH).copied().collect(),
        };
        let sdk = SDK.iter().filter(|_| self.lang == Language::Rust).chain([&CONTRACT]);
        let files = COMMON.iter().chain(&own).map(|(path, text)| (*path, filled(text)));
        for (path, text) in files.chain(sdk.map(|(path, text)| (*path, (*text).to_owned()))) {
            let path = folder.join(path);
            let written =
                path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
            written.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        }
        let source = self.lang.source();
        output::say(&format!("made {}: the rule is {source}, a case of it cases/first.json", folder.display()))?;
        if let Some(first) = self.lang.first() {
            output::say(&format!("once: cd {} && {first}", folder.display()))?;
        }
        output::say(&format!("next: drover plugin test {}", folder.display()))?;
        Ok(())
    }
}

fn template(kind: Kind) -> Template {
    match kind {
        Kind::Geofence => template!("geofence"),
        Kind::Pricing => template!("pricing"),
        Kind::Maintenance => template!("maintenance"),
    }
}

/// As the plugin host wants it, and so that it is a package's name.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_fine = name.len() <= NAME_LEN_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_fine && name != "plugin-sdk" {
        return Ok(());
    }
    let wanted = format!("1 to {NAME_LEN_MAX} lower case letters, digits and hyphens, a letter first");
    Err(Failure::Usage(format!("{name:?} is no name for a plugin: {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::path::Path;

    #[test]
    fn a_project_holds_the_whole_sdk() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for entry in std::fs::read_dir(root.join("plugin-sdk/src")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("sdk/plugin-sdk/src/{name}");
            assert!(SDK.iter().any(|(known, _)| *known == path), "{name} is not in SDK");
        }
        let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        assert!(workspace.contains(&format!("wit-bindgen = {{ version = \"{WIT_BINDGEN}\", ")), "another wit-bindgen");
    }

    #[test]
    fn every_kind_is_made_with_its_name_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for kind in Kind::value_variants() {
            let name = format!("my-{}", template(*kind).kind);
            let new = New { name: name.clone(), kind: *kind, lang: Language::Rust, into: folder.path().to_owned() };
            new.run().unwrap();
            let project = folder.path().join(&name);
            for path in ["Cargo.toml", "plugin.toml", "src/lib.rs", "README.md", "sdk/wit/v1.1/plugin.wit"] {
                if path.ends_with(".wit") {
                    assert!(project.join(path).is_file());
                    continue;
                }
                let text = std::fs::read_to_string(project.join(path)).unwrap();
                assert!(text.contains(&name) && !text.contains("{name}"), "{path}");
            }
            assert!(matches!(new.run(), Err(Failure::Usage(said)) if said.contains("there already")));
        }
    }

    #[test]
    fn a_name_that_no_plugin_may_have_is_refused() {
        for bad in ["", "My-rule", "1st", "a_b", "a/b", "..", "plugin-sdk", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("my-rule-2").unwrap();
    }
}
