//! `drover api-key`.

use crate::failure::Failure;
use crate::output;
use fleet_model::TenantId;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// Random bytes in a key.
const KEY_BYTES: usize = 32;
/// So that a key is recognised where it does not belong, such as in a repository.
const KEY_PREFIX: &str = "drover_";

/// Make API keys
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ApiKey {
    /// Print a new key once, and the lines for cloud.toml
    #[command(after_help = "\
Example:
  drover api-key new --name partner --tenant demo

The cloud keeps only the hash. The key cannot be printed again: keep it where secrets are kept.")]
    New(New),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// What the key is for
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,

    /// Whose data it opens
    #[arg(long, value_name = "TENANT", default_value = "demo")]
    tenant: TenantId,

    /// Let it read the status of edges, too
    #[arg(long)]
    operator: bool,
}

impl ApiKey {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Self::New(new) = self;
        let mut random = [0; KEY_BYTES];
        OsRng.try_fill_bytes(&mut random).map_err(|error| Failure::Failed(error.to_string()))?;
        let key = format!("{KEY_PREFIX}{}", hex::encode(random));
        Ok(output::print(said(&key, new).as_bytes())?)
    }
}

fn said(key: &str, new: &New) -> String {
    let hash = hex::encode(Sha256::digest(key));
    // A TOML basic string has the same escapes as JSON for what a name can hold.
    let name = serde_json::Value::from(new.name.as_str());
    let mut text = format!(
        "key (shown only now): {key}\n\nfor cloud.toml:\n\n[[api_keys]]\nname = {name}\ntenant = \"{}\"\nsha256 = \"{hash}\"\n",
        new.tenant
    );
    if new.operator {
        text.push_str("operator = true\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_key() {
        let new = New { name: "a \"b\"".to_owned(), tenant: TenantId::new("demo").unwrap(), operator: true };
        let text = said("demo-key", &new);
        assert!(text.contains("key (shown only now): demo-key\n"));
        assert!(text.contains(&hex::encode(Sha256::digest("demo-key"))));
        assert!(text.contains(r#"name = "a \"b\"""#) && text.ends_with("operator = true\n"));
    }
}
