//! `drover plugin`: from a new project to a component in the cloud, one file per step.

mod build;
mod case;
mod check;
mod cost;
mod logs;
mod new;
mod preview;
mod show;
mod sign;
mod test;

use crate::Connection;
use crate::client::{Client, with_query};
use crate::failure::Failure;
use crate::output::{self, TableOrJson};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Write rules and watch them: begin, build, test, check, preview, sign, upload, list, show, logs, cost
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Plugin {
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Check(check::Check),
    Preview(preview::Preview),
    Key(sign::Key),
    Sign(sign::Sign),
    /// Upload a component; it is checked and compiled, and runs nowhere until it is deployed
    #[command(after_help = "\
Example:
  drover plugin upload target/plugins/geofence.wasm

The signature in geofence.wasm.sig goes along when it is there: see drover plugin sign.")]
    Upload {
        /// A WebAssembly component
        file: PathBuf,
    },
    /// List the components that are there
    List {
        /// table or json
        #[arg(long, value_enum, default_value = "table")]
        format: TableOrJson,
    },
    Show(show::Show),
    Logs(logs::Logs),
    Cost(cost::Cost),
}

/// A component, as the cloud knows it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Uploaded {
    pub(crate) hash: String,
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    size: u64,
}

#[derive(Deserialize)]
struct Page {
    plugins: Vec<Uploaded>,
}

impl Plugin {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = match self {
            Self::New(command) => return command.run(),
            Self::Build(command) => return command.run(),
            Self::Test(command) => return command.run(),
            Self::Check(command) => return command.run(),
            Self::Preview(command) => return command.run(connection).await,
            Self::Key(command) => return command.run(),
            Self::Sign(command) => return command.run(),
            Self::Show(command) => return command.run(connection).await,
            Self::Logs(command) => return command.run(connection).await,
            Self::Cost(command) => return command.run(connection).await,
            Self::Upload { .. } | Self::List { .. } => Client::of_cloud(connection)?,
        };
        match self {
            Self::New(_)
            | Self::Build(_)
            | Self::Test(_)
            | Self::Check(_)
            | Self::Preview(_)
            | Self::Key(_)
            | Self::Sign(_)
            | Self::Show(_)
            | Self::Logs(_)
            | Self::Cost(_) => {}
            Self::Upload { file } => {
                let plugin = upload(&mut client, file).await?;
                output::say(&format!("{}@{} ({}, {} bytes)", plugin.name, plugin.version, plugin.kind, plugin.size))?;
                output::say(&format!("hash {}", plugin.hash))?;
            }
            Self::List { format: TableOrJson::Json } => {
                let body = client.get_bytes("/v1/plugins").await?;
                output::print(&body)?;
                output::print(b"\n")?;
            }
            Self::List { format: TableOrJson::Table } => {
                let page: Page = client.get("/v1/plugins").await?;
                let rows: Vec<Vec<String>> = page
                    .plugins
                    .into_iter()
                    .map(|plugin| vec![plugin.name, plugin.version, plugin.kind, plugin.size.to_string(), plugin.hash])
                    .collect();
                output::table(&["NAME", "VERSION", "KIND", "BYTES", "HASH"], &rows)?;
            }
        }
        client.close().await;
        Ok(())
    }
}

/// A plugin is a file when it looks like one, so that a misspelt path is not sent as a name.
pub(crate) fn is_file(plugin: &str) -> bool {
    plugin.ends_with(".wasm") || plugin.contains('/') || Path::new(plugin).is_file()
}

/// A config from a file.
pub(crate) fn read_config(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("cannot read the config {}: {error}", path.display())))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::Usage(format!("the config {} is not JSON: {error}", path.display())))
}

/// Uploads a file, with the signature that lies beside it.
pub(crate) async fn upload(client: &mut Client, file: &Path) -> Result<Uploaded, Failure> {
    let component =
        std::fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    let signature = sign::beside(file)?;
    let path = with_query("/v1/plugins", &[("signature", signature.as_deref())]);
    client.send(Method::POST, &path, "application/wasm", Bytes::from(component)).await
}
