//! What the cloud knows about its edges, for status pages and deployments.

use super::edge_tenants::Tenants;
use fleet_model::{EdgeId, EventClass, Place, Timestamp};
use fleet_wire::control::{Code, DeploymentSpec, EdgeStatus};
use parking_lot::Mutex;
use quinn::{Connection, VarInt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use vehicle_runtime::Clock;

/// All edges that were seen since the start of the process.
pub struct EdgeRegistry {
    clock: Clock,
    edges: Mutex<BTreeMap<EdgeId, Entry>>,
    changes: watch::Sender<u64>,
}

/// An edge as it was last seen.
#[derive(Debug, Clone)]
pub struct EdgeView {
    /// Which.
    pub edge: EdgeId,
    /// Whether it is there now.
    pub connected: bool,
    /// From where.
    pub address: SocketAddr,
    /// Name and version of its program.
    pub software: String,
    /// When it last said something.
    pub last_seen: Timestamp,
    /// The next offset expected of each class, in the edge's count: everything below is durable here.
    pub received: BTreeMap<EventClass, u64>,
    /// What it last said about itself.
    pub status: Option<EdgeStatus>,
}

struct Entry {
    view: EdgeView,
    /// The connection it has now.
    connection: Option<Connection>,
    /// Which life of each log it last sent from.
    epochs: BTreeMap<EventClass, u64>,
}

impl std::fmt::Debug for EdgeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeRegistry").field("edges", &self.edges.lock().len()).finish_non_exhaustive()
    }
}

impl EdgeRegistry {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, edges: Mutex::default(), changes: watch::channel(0).0 }
    }

    /// All edges, by name.
    #[must_use]
    pub fn edges(&self) -> Vec<EdgeView> {
        self.edges.lock().values().map(|entry| entry.view.clone()).collect()
    }

    /// One edge.
    #[must_use]
    pub fn edge(&self, edge: &EdgeId) -> Option<EdgeView> {
        self.edges.lock().get(edge).map(|entry| entry.view.clone())
    }

    /// Counts connections, disconnections and statuses: wait for a change, then look again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// An edge has said hello. One connection per edge: an older one is closed, for it is dead or a copy.
    pub(super) fn connected(
        self: &Arc<Self>,
        edge: &EdgeId,
        tenants: Tenants,
        software: &str,
        connection: &Connection,
    ) -> Connected {
        let view = EdgeView {
            edge: edge.clone(),
            connected: true,
            address: connection.remote_address(),
            software: software.to_owned(),
            last_seen: (self.clock)(),
            received: BTreeMap::new(),
            status: None,
        };
        let mut edges = self.edges.lock();
        let new = || Entry { view: view.clone(), connection: None, epochs: BTreeMap::new() };
        let entry = edges.entry(edge.clone()).or_insert_with(new);
        if let Some(older) = entry.connection.replace(connection.clone()) {
            tracing::warn!(%edge, older = %older.remote_address(), newer = %view.address, "edge connected again; the older connection is closed");
            older.close(VarInt::from_u32(Code::Superseded as u32), b"connected again");
        }
        entry.view =
            EdgeView { received: std::mem::take(&mut entry.view.received), status: entry.view.status.take(), ..view };
        drop(edges);
        self.changed();
        Connected { edge: edge.clone(), tenants, id: connection.stable_id(), registry: self.clone() }
    }

    fn update(&self, edge: &EdgeId, connection: usize, change: impl FnOnce(&mut Entry)) {
        let now = (self.clock)();
        let mut edges = self.edges.lock();
        let current = |entry: &&mut Entry| entry.connection.as_ref().is_some_and(|c| c.stable_id() == connection);
        if let Some(entry) = edges.get_mut(edge).filter(current) {
            entry.view.last_seen = now;
            change(entry);
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// One connection's way to write about its edge. Dropping it says that the edge is gone.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) edge: EdgeId,
    /// For whom it may speak.
    pub(super) tenants: Tenants,
    id: usize,
    registry: Arc<EdgeRegistry>,
}

impl Connected {
    /// Whether this edge shall run it.
    pub(super) fn is_for(&self, spec: &DeploymentSpec) -> bool {
        spec.place == Place::Edge && self.tenants.has(&spec.tenant) && spec.depots.has(&self.edge)
    }

    pub(super) fn status(&self, status: EdgeStatus) {
        self.registry.update(&self.edge, self.id, |entry| entry.view.status = Some(status));
        self.registry.changed();
    }

    /// It sends from this life of its log. Answers the one before when that was another.
    pub(super) fn sends_from(&self, class: EventClass, epoch: u64) -> Option<u64> {
        let mut before = None;
        self.registry.update(&self.edge, self.id, |entry| before = entry.epochs.insert(class, epoch));
        before.filter(|before| *before != epoch)
    }

    /// Everything below `next` is durable, of the life that it sends from.
    pub(super) fn received(&self, class: EventClass, next: u64) {
        self.registry.update(&self.edge, self.id, |entry| {
            entry.view.received.insert(class, next);
        });
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.registry.update(&self.edge, self.id, |entry| {
            entry.view.connected = false;
            entry.connection = None;
        });
        self.registry.changed();
    }
}
