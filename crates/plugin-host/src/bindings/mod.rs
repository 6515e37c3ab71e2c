//! One module per released version of `wit/`. The version in the name of a component's export chooses it, once; from
//! then on the host holds the newest version's functions and asks no more which one it was (docs/adr/0012).

mod v1_0;
pub(crate) mod v1_1;

pub(crate) use v1_1 as newest;

use std::fmt;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, TypedFunc};

/// The interface that every plugin exports.
pub(crate) const RULE: &str = "drover:plugin/rule";
/// What a plugin may import: `log`, and `types`, which holds no function and comes with every use of them.
pub(crate) const IMPORTS: [&str; 2] = ["drover:plugin/log", "drover:plugin/types"];

/// A version of the contract that this host knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    V1_0,
    V1_1,
}

impl Contract {
    /// Oldest first.
    pub(crate) const ALL: [Self; 2] = [Self::V1_0, Self::V1_1];

    /// A patch changes words only; what is not released is nobody's.
    pub(crate) fn of(version: &semver::Version) -> Option<Self> {
        match (version.major, version.minor) {
            _ if !version.pre.is_empty() => None,
            (1, 0) => Some(Self::V1_0),
            (1, 1) => Some(Self::V1_1),
            _ => None,
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
        })
    }
}

/// Where a component keeps its functions: looked up once, used per instance.
#[derive(Clone)]
pub(crate) enum Exports {
    V1_0(v1_0::Exports),
    V1_1(v1_1::Exports),
}

impl Exports {
    /// `rule` is the export's full name; an error names the function that is missing.
    pub(crate) fn find(component: &Component, contract: Contract, rule: &str) -> Result<Self, String> {
        Ok(match contract {
            Contract::V1_0 => Self::V1_0(v1_0::Exports::find(component, rule)?),
            Contract::V1_1 => Self::V1_1(v1_1::Exports::find(component, rule)?),
        })
    }

    /// The functions of one instance, as the newest version has them. Fails when a signature is not the contract's.
    pub(crate) fn bind<T: 'static>(
        &self,
        instance: &Instance,
        store: &mut Store<T>,
    ) -> wasmtime::Result<newest::Functions> {
        match self {
            Self::V1_0(exports) => exports.bind(instance, store),
            Self::V1_1(exports) => exports.bind(instance, store),
        }
    }
}

fn export(component: &Component, rule: &str, function: &str) -> Result<ComponentExportIndex, String> {
    let interface = component.get_export_index(None, rule);
    let found = interface.and_then(|interface| component.get_export_index(Some(&interface), function));
    found.ok_or_else(|| format!("{rule}#{function}"))
}

fn typed<T: 'static, P, R>(
    instance: &Instance,
    store: &mut Store<T>,
    export: &ComponentExportIndex,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    instance.get_typed_func(store, export).map_err(|error| error.context(format!("the signature of {name}")))
}
