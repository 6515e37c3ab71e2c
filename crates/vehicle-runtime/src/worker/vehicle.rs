//! The actor of one vehicle.

use super::batch::{Fault, SliceTask};
use fleet_model::VehicleState;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// Applies the slices it is sent. It decides nothing of its own: the state machine is in `fleet-model`. Its supervisor
/// keeps the last good state, restarts it from there after a panic, and stops it when it is idle.
pub(crate) struct VehicleActor {
    pub fault: Fault,
}

impl Actor for VehicleActor {
    type Msg = SliceTask;
    type State = VehicleState;
    type Arguments = VehicleState;

    async fn pre_start(
        &self,
        _myself: ActorRef<SliceTask>,
        last_good: VehicleState,
    ) -> Result<VehicleState, ActorProcessingErr> {
        Ok(last_good)
    }

    async fn handle(
        &self,
        _myself: ActorRef<SliceTask>,
        task: SliceTask,
        state: &mut VehicleState,
    ) -> Result<(), ActorProcessingErr> {
        task.apply(state, &self.fault);
        Ok(())
    }
}
