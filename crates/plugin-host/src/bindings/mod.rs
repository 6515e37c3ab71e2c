//! One module per major version of `wit/`; the names of a component's exports choose it.

pub(crate) mod v1;
