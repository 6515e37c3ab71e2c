//! Deployments as the cloud sends them: encoded once, whoever is told.

use super::{ControlError, DeploymentSpec, prefix};
#[cfg(doc)]
use super::{DeploymentSet, ToEdge};
use bytes::Bytes;
use std::ops::Deref;
use std::sync::Arc;

/// A deployment as it travels, encoded once however many edges are told.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedSpec {
    spec: DeploymentSpec,
    json: Bytes,
}

impl EncodedSpec {
    /// Encodes it.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(spec: DeploymentSpec) -> Result<Self, ControlError> {
        let json = serde_json::to_vec(&spec)?.into();
        Ok(Self { spec, json })
    }
}

impl Deref for EncodedSpec {
    type Target = DeploymentSpec;
    fn deref(&self) -> &DeploymentSpec {
        &self.spec
    }
}

/// A [`DeploymentSet`] of a sender with many receivers: they share its bytes, and so do a set and the one after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodedSet {
    /// As [`DeploymentSet::generation`].
    pub generation: u64,
    /// As [`DeploymentSet::deployments`].
    pub deployments: Vec<Arc<EncodedSpec>>,
}

impl EncodedSet {
    /// Changes only grow and nothing is removed: their sum counts all changes, across restarts too.
    #[must_use]
    pub fn new(deployments: Vec<Arc<EncodedSpec>>) -> Self {
        Self { generation: deployments.iter().map(|spec| spec.changes).sum(), deployments }
    }

    /// The set with `spec` in the place of what had its tenant and name, or added.
    #[must_use]
    pub fn with(&self, spec: EncodedSpec) -> Self {
        let mut deployments = self.deployments.clone();
        let place = deployments.iter().position(|known| (&known.tenant, &known.name) == (&spec.tenant, &spec.name));
        match place {
            Some(place) => deployments[place] = Arc::new(spec),
            None => deployments.push(Arc::new(spec)),
        }
        Self::new(deployments)
    }

    /// Those of them that are wanted.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&DeploymentSpec) -> bool) -> Self {
        Self::new(self.deployments.iter().filter(|spec| wanted(spec)).cloned().collect())
    }

    /// Whether both hold the very same deployments: cheap, and never wrongly true.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<EncodedSpec>, &Arc<EncodedSpec>)| Arc::ptr_eq(a, b);
        self.deployments.len() == other.deployments.len() && self.deployments.iter().zip(&other.deployments).all(same)
    }

    /// Bytes of the message, without the length before it.
    #[must_use]
    pub fn message_len(&self) -> usize {
        let bodies: usize = self.deployments.iter().map(|spec| spec.json.len()).sum();
        self.head().len() + bodies + self.deployments.len().saturating_sub(1) + SET_TAIL.len()
    }

    /// [`ToEdge::Deployments`] behind its length, in pieces to be sent one after the other. Nothing large is copied.
    ///
    /// # Errors
    /// When it is longer than `len_max`.
    pub fn encode(&self, len_max: usize) -> Result<Vec<Bytes>, ControlError> {
        let prefix = prefix(self.message_len(), len_max)?;
        let mut pieces = vec![[&prefix, self.head().as_bytes()].concat().into()];
        for (place, spec) in self.deployments.iter().enumerate() {
            if place > 0 {
                pieces.push(Bytes::from_static(b","));
            }
            pieces.push(spec.json.clone());
        }
        pieces.push(Bytes::from_static(SET_TAIL));
        Ok(pieces)
    }

    fn head(&self) -> String {
        format!(r#"{{"type":"deployments","generation":{},"deployments":["#, self.generation)
    }
}

/// What ends a message of deployments.
const SET_TAIL: &[u8] = b"]}";
