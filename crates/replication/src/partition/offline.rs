//! The role of a replica that serves nobody: before metadata has named one, and after the log failed or the topic was
//! deleted, which is for good.

use super::{Replica, RoleState};

/// Whether a replica is offline although metadata had given it a role.
pub(super) fn is_for_good(role: &RoleState, replica: &Replica) -> bool {
    matches!(role, RoleState::Offline) && !replica.partition_epoch.is_none()
}
