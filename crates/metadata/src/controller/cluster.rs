//! Brokers: registration, heartbeats, sessions, fencing, controlled shutdown; and what controllers tell of themselves.
//!
//! | state | request | next |
//! |---|---|---|
//! | fenced | wants to shut down | SHUTDOWN_NOW |
//! | fenced | does not want to be fenced, and has read its registration record (KAFKA-13959) | UNFENCED |
//! | unfenced | wants to be fenced (and to shut down) | FENCED (SHUTDOWN_NOW) |
//! | unfenced | wants to shut down | leads partitions: CONTROLLED_SHUTDOWN, else SHUTDOWN_NOW |
//! | controlled shutdown | – | leads none and all active brokers know it: SHUTDOWN_NOW |
//!
//! Sessions are soft state, made by heartbeats alone, and end exactly `session_timeout` after the last one. Kafka lets a
//! cleanly stopped broker wait its session out before another incarnation may register; here SHUTDOWN_NOW ends it.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use protocol::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use protocol::messages::broker_registration_request::BrokerRegistrationRequest;
use protocol::messages::broker_registration_response::BrokerRegistrationResponse;
use protocol::messages::controller_registration_request::ControllerRegistrationRequest;
use protocol::messages::controller_registration_response::ControllerRegistrationResponse;
use protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature, RegisterBrokerRecord};
use protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature, RegisterControllerRecord};
use protocol::{BrokerEpoch, ErrorCode, Monotonic, NodeId, Offset, Uuid};

use super::request::{heartbeat_refused, registration_refused};
use super::state::State;
use super::{Active, Work, bootstrap};
use crate::broker::{FENCE, UNFENCE};

/// A broker's session: what its heartbeats told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// The registration it belongs to.
    pub(super) epoch: BrokerEpoch,
    /// Of the last heartbeat.
    contact: Monotonic,
    /// How far its image is.
    metadata_offset: Offset,
    /// In controlled shutdown: the last record that relieves it of a partition. Everybody must know it before it may go.
    shutdown_offset: Option<Offset>,
}

impl Session {
    pub(super) const fn new(epoch: BrokerEpoch, contact: Monotonic) -> Self {
        Self { epoch, contact, metadata_offset: Offset::NONE, shutdown_offset: None }
    }
}

/// When the first session of an unfenced broker ends.
pub(super) fn next_expiry(state: &State, active: &Active, timeout: Duration) -> Option<Monotonic> {
    let unfenced = state.brokers.iter().filter(|(_, broker)| !broker.fenced);
    unfenced
        .map(|(id, _)| active.sessions.get(id).map_or(Monotonic::default(), |session| session.contact + timeout))
        .min()
}

/// Where a heartbeat leaves a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

impl Work<'_> {
    /// Whether the registration `epoch` of `id` has heard from its broker lately.
    fn has_session(&self, id: NodeId, epoch: BrokerEpoch) -> bool {
        self.active.sessions.get(&id).is_some_and(|session| {
            session.epoch == epoch && self.now.mono < session.contact + self.config.session_timeout
        })
    }

    pub(super) fn register_broker(&mut self, request: &BrokerRegistrationRequest) -> BrokerRegistrationResponse {
        match self.try_register_broker(request) {
            Ok(epoch) => BrokerRegistrationResponse { broker_epoch: epoch.0, ..Default::default() },
            Err(code) => registration_refused(code),
        }
    }

    fn try_register_broker(&mut self, request: &BrokerRegistrationRequest) -> Result<BrokerEpoch, ErrorCode> {
        let id = NodeId(request.broker_id);
        if request.cluster_id != self.config.cluster_id {
            return Err(ErrorCode::InconsistentClusterId);
        }
        let known = self.state.brokers.get(&id).cloned();
        if let Some(known) = &known
            && known.incarnation != request.incarnation_id
            && self.has_session(id, known.epoch)
        {
            probe::sometimes!("broker_duplicate_refused");
            return Err(ErrorCode::DuplicateBrokerRegistration);
        }
        self.check_log_dirs(id, &request.log_dirs)?;
        self.check_features(request)?;

        // The same incarnation asks again (its answer was lost): it keeps what it is (KAFKA-16952).
        let again = known.is_some();
        let same = known.filter(|known| known.incarnation == request.incarnation_id);
        match (again, &same) {
            (true, Some(_)) => probe::sometimes!("broker_same_incarnation"),
            (true, None) => probe::sometimes!("broker_registered_again"),
            (false, _) => {}
        }
        let epoch = same.as_ref().map_or(BrokerEpoch(self.active.next_offset.0), |known| known.epoch);
        if same.is_none() {
            // Clean or not: with eligible leader replicas off no proof of a clean stop keeps it in an ISR.
            self.update_leaders_and_isrs(id, |partition| partition.isr.contains(&id));
            self.active.sessions.remove(&id);
        }
        let record = RegisterBrokerRecord {
            broker_id: id.0,
            incarnation_id: request.incarnation_id,
            broker_epoch: epoch.0,
            end_points: (request.listeners.iter())
                .map(|listener| BrokerEndpoint {
                    name: listener.name.clone(),
                    host: listener.host.clone(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: (request.features.iter())
                .map(|feature| BrokerFeature {
                    name: feature.name.clone(),
                    min_supported_version: feature.min_supported_version,
                    max_supported_version: feature.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            rack: request.rack.clone(),
            fenced: same.as_ref().is_none_or(|known| known.fenced),
            in_controlled_shutdown: same.as_ref().is_some_and(|known| known.in_controlled_shutdown),
            log_dirs: request.log_dirs.clone(),
            ..Default::default()
        };
        self.push(record.into());
        Ok(epoch)
    }

    /// At least one directory, none reserved (the first 100 ids), repeated, or another broker's.
    fn check_log_dirs(&self, id: NodeId, log_dirs: &[Uuid]) -> Result<(), ErrorCode> {
        let reserved = |dir: &Uuid| u128::from_be_bytes(dir.0) < 100;
        let mut distinct = BTreeSet::new();
        if log_dirs.is_empty() || log_dirs.iter().any(|dir| reserved(dir) || !distinct.insert(*dir)) {
            return Err(ErrorCode::InvalidRegistration);
        }
        let mut others = self.state.brokers.iter().filter(|(other, _)| **other != id);
        if others.any(|(_, broker)| broker.log_dirs.iter().any(|dir| distinct.contains(dir))) {
            return Err(ErrorCode::InvalidRegistration);
        }
        Ok(())
    }

    /// The broker names its range of metadata.version, and every finalized level lies within its ranges.
    fn check_features(&self, request: &BrokerRegistrationRequest) -> Result<(), ErrorCode> {
        let range = |name: &str| request.features.iter().find(|feature| feature.name == *name);
        if range(bootstrap::METADATA_VERSION).is_none() {
            return Err(ErrorCode::InvalidRegistration);
        }
        for (name, level) in self.state.features.iter() {
            let spoken = range(name)
                .is_some_and(|feature| (feature.min_supported_version..=feature.max_supported_version).contains(level));
            if !spoken {
                return Err(ErrorCode::UnsupportedVersion);
            }
        }
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, request: &BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        let (id, epoch) = (NodeId(request.broker_id), BrokerEpoch(request.broker_epoch));
        let Some(broker) = self.state.brokers.get(&id).filter(|broker| broker.epoch == epoch).cloned() else {
            probe::sometimes!("heartbeat_stale_epoch");
            return heartbeat_refused(ErrorCode::StaleBrokerEpoch);
        };
        let (now, known_to) = (self.now.mono, Offset(request.current_metadata_offset));
        let session = self.active.sessions.entry(id).or_insert(Session::new(epoch, now));
        *session = Session { contact: now, metadata_offset: known_to, ..*session };
        let shutdown_offset = session.shutdown_offset;
        let caught_up = known_to >= broker.registered_at;

        let next = if broker.fenced {
            match () {
                () if request.want_shut_down => Next::ShutdownNow,
                () if !request.want_fence && caught_up => Next::Unfenced,
                () => Next::Fenced,
            }
        } else if let Some(offset) = shutdown_offset {
            if !self.leads_any(id) && offset <= self.lowest_active_offset() {
                Next::ShutdownNow
            } else {
                Next::ControlledShutdown
            }
        } else {
            match (request.want_fence, request.want_shut_down) {
                (true, true) => Next::ShutdownNow,
                (true, false) => Next::Fenced,
                (false, true) if self.leads_any(id) => Next::ControlledShutdown,
                (false, true) => Next::ShutdownNow,
                (false, false) => Next::Unfenced,
            }
        };

        match next {
            Next::Fenced | Next::ShutdownNow if !broker.fenced => self.fence(id),
            Next::Unfenced if broker.fenced => self.unfence(id),
            Next::ControlledShutdown if shutdown_offset.is_none() => self.begin_controlled_shutdown(id),
            _ => {}
        }
        if next == Next::ShutdownNow {
            // Our deviation: its session ends here, so that its next start need not wait it out.
            self.active.sessions.remove(&id);
        }
        BrokerHeartbeatResponse {
            is_caught_up: caught_up,
            is_fenced: matches!(next, Next::Fenced | Next::ShutdownNow),
            should_shut_down: next == Next::ShutdownNow,
            ..Default::default()
        }
    }

    fn leads_any(&self, id: NodeId) -> bool {
        self.state.partitions.iter().any(|(_, partition)| partition.leader == id)
    }

    /// How far the slowest image of the active brokers is; no bound without any.
    fn lowest_active_offset(&self) -> Offset {
        let active = self.state.brokers.iter().filter(|(_, broker)| broker.is_active());
        let known_to = |id| self.active.sessions.get(id).map_or(Offset::NONE, |session| session.metadata_offset);
        active.map(|(id, _)| known_to(id)).min().unwrap_or(Offset(i64::MAX))
    }

    fn registration_change(&self, id: NodeId) -> BrokerRegistrationChangeRecord {
        let epoch = self.state.brokers.get(&id).expect("a registered broker").epoch;
        BrokerRegistrationChangeRecord { broker_id: id.0, broker_epoch: epoch.0, ..Default::default() }
    }

    /// Takes a broker out of every ISR but those it is the last member of, then fences it. Ends a controlled shutdown.
    fn fence(&mut self, id: NodeId) {
        self.update_leaders_and_isrs(id, |partition| partition.isr.contains(&id));
        let change = BrokerRegistrationChangeRecord { fenced: FENCE, ..self.registration_change(id) };
        self.push(change.into());
        if let Some(session) = self.active.sessions.get_mut(&id) {
            session.shutdown_offset = None;
        }
    }

    /// Unfences a broker, then gives every leaderless partition another chance. One that is still marked as shutting down
    /// (it changed its mind) gets none of them: it is not active.
    fn unfence(&mut self, id: NodeId) {
        let change = BrokerRegistrationChangeRecord { fenced: UNFENCE, ..self.registration_change(id) };
        self.push(change.into());
        self.update_leaders_and_isrs(NodeId::NONE, |partition| partition.leader.is_none());
    }

    fn begin_controlled_shutdown(&mut self, id: NodeId) {
        probe::sometimes!("controlled_shutdown");
        if !self.state.brokers.get(&id).expect("a registered broker").in_controlled_shutdown {
            let change = BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..self.registration_change(id) };
            self.push(change.into());
        }
        self.update_leaders_and_isrs(id, |partition| partition.isr.contains(&id));
        let last = self.active.next_offset.plus(-1);
        self.active.sessions.get_mut(&id).expect("it has just sent a heartbeat").shutdown_offset = Some(last);
    }

    /// Fences one broker whose session has ended; whether there was one. One at a time, each seeing the state that the one
    /// before left (KAFKA-13173).
    pub(super) fn fence_one_expired(&mut self) -> bool {
        let expired =
            self.state.brokers.iter().find(|(id, broker)| !broker.fenced && !self.has_session(**id, broker.epoch));
        let Some(id) = expired.map(|(id, _)| *id) else { return false };
        probe::sometimes!("broker_session_expired");
        self.fence(id);
        true
    }

    pub(super) fn register_controller(
        &mut self,
        request: &ControllerRegistrationRequest,
    ) -> ControllerRegistrationResponse {
        let record = RegisterControllerRecord {
            controller_id: request.controller_id,
            incarnation_id: request.incarnation_id,
            zk_migration_ready: request.zk_migration_ready,
            end_points: (request.listeners.iter())
                .map(|listener| ControllerEndpoint {
                    name: listener.name.clone(),
                    host: listener.host.clone(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: (request.features.iter())
                .map(|feature| ControllerFeature {
                    name: feature.name.clone(),
                    min_supported_version: feature.min_supported_version,
                    max_supported_version: feature.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.push(record.into());
        ControllerRegistrationResponse { error_message: None, ..Default::default() }
    }
}
