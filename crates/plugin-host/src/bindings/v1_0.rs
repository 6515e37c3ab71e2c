//! `wit/v1.0`: a component does not say which old rows it reads. All else is as in 1.1.

use super::newest::Functions;
use super::{export, typed};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance};

/// Where a component keeps its functions.
#[derive(Clone)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    configure: ComponentExportIndex,
    migrate: ComponentExportIndex,
    evaluate: ComponentExportIndex,
}

impl Exports {
    pub(super) fn find(component: &Component, rule: &str) -> Result<Self, String> {
        Ok(Self {
            describe: export(component, rule, "describe")?,
            configure: export(component, rule, "configure")?,
            migrate: export(component, rule, "migrate")?,
            evaluate: export(component, rule, "evaluate")?,
        })
    }

    pub(super) fn bind<T: 'static>(&self, instance: &Instance, store: &mut Store<T>) -> wasmtime::Result<Functions> {
        Ok(Functions {
            describe: typed(instance, store, &self.describe, "rule.describe")?,
            configure: typed(instance, store, &self.configure, "rule.configure")?,
            migrates_from: None,
            migrate: typed(instance, store, &self.migrate, "rule.migrate")?,
            evaluate: typed(instance, store, &self.evaluate, "rule.evaluate")?,
        })
    }
}
