//! Between the contract and a [`Rule`]. Authors use only [`export_plugin!`](crate::export_plugin).

use std::cell::RefCell;

use crate::bindings::drover::plugin::types::{Descriptor, Outcome};
use crate::{Proposals, Reading, Rows, Rule};

/// Holds the rule of an instance: none until it is configured.
pub struct Resident<R>(RefCell<Option<R>>);

impl<R: Rule> Resident<R> {
    /// Not yet configured.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Makes the rule.
    ///
    /// # Errors
    /// Those of the rule.
    pub fn configure(&self, config: &str) -> Result<(), String> {
        *self.0.borrow_mut() = Some(R::configure(config)?);
        Ok(())
    }

    /// Runs the rule over a batch.
    ///
    /// # Errors
    /// Those of the rule; a batch that is not of the contract's shape; a rule that was not configured.
    pub fn evaluate(&self, readings: &[Reading], rows: Vec<u8>) -> Result<Outcome, String> {
        let mut rule = self.0.borrow_mut();
        let rule = rule.as_mut().ok_or("evaluate was called before configure")?;
        let mut rows = Rows::new(rows, R::describe().row_bytes)?;
        let mut proposals = Proposals::new();
        rule.evaluate(readings, &mut rows, &mut proposals)?;
        Ok(Outcome { proposals: proposals.into_vec(), rows: rows.into_bytes() })
    }
}

impl<R: Rule> Default for Resident<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// The rule's description in the words of the contract.
#[must_use]
pub fn descriptor<R: Rule>() -> Descriptor {
    let description = R::describe();
    Descriptor {
        name: description.name.to_owned(),
        version: description.version.to_owned(),
        kind: description.kind,
        state_version: description.state_version,
        row_bytes: description.row_bytes,
        config_schema: description.config_schema.to_owned(),
    }
}

/// Makes the crate a plugin with this [`Rule`]. The crate must be a `cdylib`; on targets other than WebAssembly nothing
/// is exported, so that the same crate can be tested natively.
#[macro_export]
macro_rules! export_plugin {
    ($rule:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::drover::plugin::types::{Descriptor, Outcome};
            use $crate::bindings::exports::drover::plugin::rule;

            std::thread_local! {
                static RESIDENT: $crate::export::Resident<$rule> = const { $crate::export::Resident::new() };
            }

            struct Component;

            impl rule::Guest for Component {
                fn describe() -> Descriptor {
                    $crate::export::descriptor::<$rule>()
                }

                fn configure(config: String) -> Result<(), String> {
                    RESIDENT.with(|resident| resident.configure(&config))
                }

                fn migrates_from() -> Vec<u32> {
                    <$rule as $crate::Rule>::MIGRATES_FROM.to_vec()
                }

                fn migrate(from_version: u32, row_bytes: u32, rows: Vec<u8>) -> Result<Vec<u8>, String> {
                    <$rule as $crate::Rule>::migrate(from_version, row_bytes, &rows)
                }

                fn evaluate(readings: Vec<$crate::Reading>, rows: Vec<u8>) -> Result<Outcome, String> {
                    RESIDENT.with(|resident| resident.evaluate(&readings, rows))
                }
            }

    $crate::bindings::export_plugin_world!(Component with_types_in $crate::bindings);
        };
    };
}
