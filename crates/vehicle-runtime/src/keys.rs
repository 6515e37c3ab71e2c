//! Names of the snapshots this crate keeps. Numbers in them are big-endian, so that they sort.

use fleet_model::{DeploymentName, TenantId, VehicleKey};

/// In the events log: what a restart begins with.
pub(crate) const CHECKPOINT: &[u8] = b"checkpoint";
/// In the events log: one per vehicle.
pub(crate) const VEHICLES: &[u8] = b"vehicle/";
/// In the events log: one per activation of a deployment.
pub(crate) const DEPLOYMENTS: &[u8] = b"deployment/";
/// In the telemetry log: one per vehicle.
pub(crate) const ADMISSION_VEHICLES: &[u8] = b"admission/vehicle/";
/// In the telemetry log: up to which offset the states of admission go.
pub(crate) const ADMISSION_OFFSET: &[u8] = b"admission/offset";

/// In the telemetry log: readings that admission knows of, by vehicle, span of event time and checkpoint.
const ADMISSION_KNOWN: &[u8] = b"admission/known/";

/// In the events log: up to where the telemetry log was shed.
pub(crate) const SHED: &[u8] = b"shed";

/// In the events log: where each chain of audit records ends, by tenant.
const AUDIT_HEADS: &str = "audit/head/";
/// In the events log: which revision of a deployment was refused last, so that it is recorded once.
const REFUSED: &str = "audit/refused/";

/// Tenant and name: what a deployment is known by.
pub(crate) type DeploymentKey = (TenantId, DeploymentName);

pub(crate) fn vehicle(key: VehicleKey) -> Vec<u8> {
    [VEHICLES, &key.0.to_be_bytes()].concat()
}

pub(crate) fn admission_vehicle(key: VehicleKey) -> Vec<u8> {
    [ADMISSION_VEHICLES, &key.0.to_be_bytes()].concat()
}

/// Readings of a vehicle in one span of event time.
pub(crate) fn admission_known(vehicle: VehicleKey, span: i64) -> Vec<u8> {
    [ADMISSION_KNOWN, &vehicle.0.to_be_bytes(), &span.to_be_bytes()].concat()
}

/// Those of them that left the memory at hand before the checkpoint at offset `next`.
pub(crate) fn admission_known_page(vehicle: VehicleKey, span: i64, next: u64) -> Vec<u8> {
    [admission_known(vehicle, span).as_slice(), &next.to_be_bytes()].concat()
}

/// The chain of acts that are a tenant's affair, or the operator's.
pub(crate) fn audit_head(tenant: Option<&TenantId>) -> Vec<u8> {
    format!("{AUDIT_HEADS}{}", tenant.map_or("", TenantId::as_str)).into_bytes()
}

pub(crate) fn refused(key: &DeploymentKey) -> Vec<u8> {
    format!("{REFUSED}{}/{}", key.0, key.1).into_bytes()
}

/// One activation. The generation counts all activations of a node, so that a revision may be activated twice.
pub(crate) fn deployment(key: &DeploymentKey, generation: u64) -> Vec<u8> {
    let prefix = format!("deployment/{}/{}/", key.0, key.1);
    [prefix.as_bytes(), &generation.to_be_bytes()].concat()
}

/// All rows that a deployment ever had.
pub(crate) fn rows_of(key: &DeploymentKey) -> Vec<u8> {
    format!("rows/{}/{}/", key.0, key.1).into_bytes()
}

/// The rows of a deployment that began, at zero or by a migration, with activation `rows_since`.
pub(crate) fn rows_since(key: &DeploymentKey, rows_since: u64) -> Vec<u8> {
    [rows_of(key).as_slice(), &rows_since.to_be_bytes()].concat()
}

pub(crate) fn row(key: &DeploymentKey, since: u64, vehicle: VehicleKey) -> Vec<u8> {
    [rows_since(key, since).as_slice(), &vehicle.0.to_be_bytes()].concat()
}

/// The vehicle that a key of [`row`] or [`vehicle`] ends with.
pub(crate) fn vehicle_of(key: &[u8]) -> Option<VehicleKey> {
    key.last_chunk::<8>().map(|last| VehicleKey(u64::from_be_bytes(*last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_their_numbers_and_lead_back() {
        let deployment_key = ("demo".parse().unwrap(), "zones".parse().unwrap());
        let small = row(&deployment_key, 2, VehicleKey(9));
        let large = row(&deployment_key, 10, VehicleKey(1));
        assert!(small < large && small.starts_with(&rows_of(&deployment_key)));
        assert_eq!(vehicle_of(&small), Some(VehicleKey(9)));
        assert_eq!(vehicle_of(&vehicle(VehicleKey(u64::MAX))), Some(VehicleKey(u64::MAX)));
        assert!(deployment(&deployment_key, 1) < deployment(&deployment_key, 256));
    }
}
