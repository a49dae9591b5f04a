//! What the cluster knows of a broker or a controller.

use std::collections::BTreeMap;

use protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use protocol::messages::register_broker_record::RegisterBrokerRecord;
use protocol::messages::register_controller_record::RegisterControllerRecord;
use protocol::{BrokerEpoch, NodeId, Offset, Str, Uuid};

/// Where a listener is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Advertised host.
    pub host: Str,
    /// Advertised port.
    pub port: u16,
    /// Kafka's number: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of a feature that a node speaks, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionRange {
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

impl VersionRange {
    /// Whether `level` is spoken.
    pub const fn contains(self, level: i16) -> bool {
        self.min <= level && level <= self.max
    }
}

/// One registration of a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistration {
    /// `node.id`.
    pub id: NodeId,
    /// Names this registration; see [`BrokerEpoch`].
    pub epoch: BrokerEpoch,
    /// Names the process start.
    pub incarnation: Uuid,
    /// By listener name.
    pub endpoints: BTreeMap<Str, Endpoint>,
    /// What it speaks, by feature name.
    pub features: BTreeMap<Str, VersionRange>,
    /// `broker.rack`.
    pub rack: Option<Str>,
    /// A fenced broker leads nothing and is shown to nobody.
    pub fenced: bool,
    /// It asked to stop and is being relieved of its partitions (KIP-841).
    pub in_controlled_shutdown: bool,
    /// Ids of its log directories.
    pub log_dirs: Vec<Uuid>,
    /// Offset of the record that made or last amended this registration: a broker whose image is older does not know that
    /// it is registered (KAFKA-13959).
    pub registered_at: Offset,
}

impl BrokerRegistration {
    /// The registration that a record at `offset` makes.
    pub fn registered(record: &RegisterBrokerRecord, offset: Offset) -> Self {
        Self {
            id: NodeId(record.broker_id),
            epoch: BrokerEpoch(record.broker_epoch),
            incarnation: record.incarnation_id,
            endpoints: (record.end_points.iter())
                .map(|end| {
                    let endpoint = Endpoint {
                        host: end.host.detached(),
                        port: end.port,
                        security_protocol: end.security_protocol,
                    };
                    (end.name.detached(), endpoint)
                })
                .collect(),
            features: (record.features.iter())
                .map(|feature| {
                    let range = VersionRange { min: feature.min_supported_version, max: feature.max_supported_version };
                    (feature.name.detached(), range)
                })
                .collect(),
            rack: record.rack.as_ref().map(Str::detached),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
            registered_at: offset,
        }
    }

    /// This registration after a change. Panics if the change is of another registration: the log contradicts itself.
    #[must_use]
    pub fn changed(&self, change: &BrokerRegistrationChangeRecord) -> Self {
        assert_eq!(change.broker_epoch, self.epoch.0, "broker {}: change of another registration", self.id);
        let mut next = self.clone();
        match change.fenced {
            FENCE => next.fenced = true,
            UNFENCE => next.fenced = false,
            _ => {}
        }
        if change.in_controlled_shutdown == 1 {
            next.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            next.log_dirs.clone_from(&change.log_dirs);
        }
        next
    }

    /// This registration, fenced or not: the records before metadata.version 3.3.
    #[must_use]
    pub fn with_fenced(&self, fenced: bool) -> Self {
        Self { fenced, ..self.clone() }
    }

    /// Whether it may lead and be in an ISR.
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

/// `BrokerRegistrationChangeRecord.Fenced`: fences.
pub(crate) const FENCE: i8 = 1;
/// `BrokerRegistrationChangeRecord.Fenced`: unfences.
pub(crate) const UNFENCE: i8 = -1;

/// What a controller told of itself (KIP-919).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerRegistration {
    /// `node.id`.
    pub id: NodeId,
    /// Names the process start.
    pub incarnation: Uuid,
    /// By listener name.
    pub endpoints: BTreeMap<Str, Endpoint>,
    /// What it speaks, by feature name.
    pub features: BTreeMap<Str, VersionRange>,
}

impl ControllerRegistration {
    /// The registration that a record makes.
    pub fn registered(record: &RegisterControllerRecord) -> Self {
        Self {
            id: NodeId(record.controller_id),
            incarnation: record.incarnation_id,
            endpoints: (record.end_points.iter())
                .map(|end| {
                    let endpoint = Endpoint {
                        host: end.host.detached(),
                        port: end.port,
                        security_protocol: end.security_protocol,
                    };
                    (end.name.detached(), endpoint)
                })
                .collect(),
            features: (record.features.iter())
                .map(|feature| {
                    let range = VersionRange { min: feature.min_supported_version, max: feature.max_supported_version };
                    (feature.name.detached(), range)
                })
                .collect(),
        }
    }
}
