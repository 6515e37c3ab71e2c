//! `drover plugin`.

use crate::Connection;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, TableOrJson};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Upload and list plugins
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Plugin {
    /// Upload a component; it is checked and compiled, and runs nowhere until it is deployed
    #[command(after_help = "\
Example:
  drover plugin upload target/plugins/geofence.wasm")]
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
        let mut client = Client::of_cloud(connection)?;
        match self {
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

/// Uploads a file.
pub(crate) async fn upload(client: &mut Client, file: &Path) -> Result<Uploaded, Failure> {
    let component =
        std::fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    client.send(Method::POST, "/v1/plugins", "application/wasm", Bytes::from(component)).await
}
