//! `wit/v1.1`: what the host works with, whatever a component was built against. Written by hand because `reading` has
//! its own lowering; a component that does not match is refused when it is linked.

use super::{export, typed};
use crate::plugin_log::{Level, PluginLog};
use crate::position::Position;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, Lift, Linker, Lower, TypedFunc, WasmStr,
};
use wasmtime::{Store, StoreContextMut};

/// The same in every 1.x so far, and the linker takes each of them for this.
const LOG: &str = "drover:plugin/log@1.1.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made from the guest's number")]
pub(crate) enum Kind {
    #[component(name = "geofence")]
    Geofence,
    #[component(name = "pricing")]
    Pricing,
    #[component(name = "maintenance")]
    Maintenance,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Descriptor {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
    #[component(name = "state-version")]
    pub(crate) state_version: u32,
    #[component(name = "row-bytes")]
    pub(crate) row_bytes: u32,
    #[component(name = "config-schema")]
    pub(crate) config_schema: String,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Proposal {
    pub(crate) reading: u32,
    pub(crate) kind: u32,
    #[component(name = "event-time-ms")]
    pub(crate) event_time_ms: i64,
    pub(crate) value: f64,
    pub(crate) subject: String,
    pub(crate) details: Option<String>,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Outcome {
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) rows: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made from the guest's number")]
enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
}

/// Defines everything that a plugin of this version may import.
pub(crate) fn link<T: 'static>(linker: &mut Linker<T>, log_of: fn(&mut T) -> &mut PluginLog) -> wasmtime::Result<()> {
    linker.instance(LOG)?.func_wrap(
        "write",
        move |mut store: StoreContextMut<'_, T>, (level, message): (LogLevel, WasmStr)| {
            if !log_of(store.data_mut()).admit_line() {
                return Ok(());
            }
            let level = match level {
                LogLevel::Debug => Level::Debug,
                LogLevel::Info => Level::Info,
                LogLevel::Warn => Level::Warn,
            };
            let message = message.to_str(&store)?.into_owned();
            log_of(store.data_mut()).write(level, message);
            Ok(())
        },
    )
}

/// Where a component keeps its functions: looked up once, used per instance.
#[derive(Clone)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    configure: ComponentExportIndex,
    migrates_from: ComponentExportIndex,
    migrate: ComponentExportIndex,
    evaluate: ComponentExportIndex,
}

impl Exports {
    pub(super) fn find(component: &Component, rule: &str) -> Result<Self, String> {
        Ok(Self {
            describe: export(component, rule, "describe")?,
            configure: export(component, rule, "configure")?,
            migrates_from: export(component, rule, "migrates-from")?,
            migrate: export(component, rule, "migrate")?,
            evaluate: export(component, rule, "evaluate")?,
        })
    }

    pub(super) fn bind<T: 'static>(&self, instance: &Instance, store: &mut Store<T>) -> wasmtime::Result<Functions> {
        Ok(Functions {
            describe: typed(instance, store, &self.describe, "rule.describe")?,
            configure: typed(instance, store, &self.configure, "rule.configure")?,
            migrates_from: Some(typed(instance, store, &self.migrates_from, "rule.migrates-from")?),
            migrate: typed(instance, store, &self.migrate, "rule.migrate")?,
            evaluate: typed(instance, store, &self.evaluate, "rule.evaluate")?,
        })
    }
}

/// The functions of one instance.
pub(crate) struct Functions {
    pub(super) describe: TypedFunc<(), (Descriptor,)>,
    pub(super) configure: TypedFunc<(&'static str,), (Result<(), String>,)>,
    /// `None` before 1.1: such a component does not say.
    pub(super) migrates_from: Option<TypedFunc<(), (Vec<u32>,)>>,
    #[expect(clippy::type_complexity, reason = "the signature is the contract's")]
    pub(super) migrate: TypedFunc<(u32, u32, &'static [u8]), (Result<Vec<u8>, String>,)>,
    #[expect(clippy::type_complexity, reason = "the signature is the contract's")]
    pub(super) evaluate: TypedFunc<(&'static [Position], &'static [u8]), (Result<Outcome, String>,)>,
}

impl Functions {
    pub(crate) fn describe<T: 'static>(&self, store: &mut Store<T>) -> wasmtime::Result<Descriptor> {
        self.describe.call(store, ()).map(|(answer,)| answer)
    }

    pub(crate) fn configure<T: 'static>(
        &self,
        store: &mut Store<T>,
        config: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        let configure: &TypedFunc<(&str,), _> = &self.configure;
        configure.call(store, (config,)).map(|(answer,)| answer)
    }

    pub(crate) fn migrates_from<T: 'static>(&self, store: &mut Store<T>) -> wasmtime::Result<Option<Vec<u32>>> {
        let answer = self.migrates_from.as_ref().map(|function| function.call(store, ())).transpose()?;
        Ok(answer.map(|(versions,)| versions))
    }

    pub(crate) fn migrate<T: 'static>(
        &self,
        store: &mut Store<T>,
        from_version: u32,
        row_bytes: u32,
        rows: &[u8],
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let migrate: &TypedFunc<(u32, u32, &[u8]), _> = &self.migrate;
        migrate.call(store, (from_version, row_bytes, rows)).map(|(answer,)| answer)
    }

    pub(crate) fn evaluate<T: 'static>(
        &self,
        store: &mut Store<T>,
        positions: &[Position],
        rows: &[u8],
    ) -> wasmtime::Result<Result<Outcome, String>> {
        let evaluate: &TypedFunc<(&[Position], &[u8]), _> = &self.evaluate;
        evaluate.call(store, (positions, rows)).map(|(answer,)| answer)
    }
}
