//! Metadata: the records of `__cluster_metadata`, the image they build, the controller that writes them.
//!
//! [`Image`] is an immutable copy of everything the records say, cheap to clone; [`Image::apply`] gives the next one and
//! the [`Delta`] between them. [`Controller`] is the replicated machine that answers brokers and clients by writing
//! records: it registers and fences brokers, creates topics, elects leaders and keeps every partition's ISR. Both build
//! their state through [`BrokerRegistration`] and [`PartitionRegistration`], so they cannot disagree about a record.
//!
//! Deliberately absent: sockets, clocks and the log itself (`broker::controller` and `broker::quorum` drive the machine),
//! eligible leader replicas, reassignment, dynamic voters, ACLs, quotas. Records of what is absent are read and ignored.

mod broker;
pub mod broker_configs;
pub mod configs;
pub mod controller;
mod delta;
mod digest;
mod image;
mod partition;

pub use broker::{BrokerRegistration, ControllerRegistration, Endpoint, VersionRange};
pub use controller::Controller;
pub use delta::{Change, Changed, Delta};
pub use digest::{Digest, Sampling};
pub use image::{ConfigResource, Configs, Image, ResourceKind, TopicImage};
pub use partition::{LeaderRecovery, PartitionRegistration};
