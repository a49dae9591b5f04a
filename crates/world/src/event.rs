//! What subscribers see.

use runtime::{Observation, cause::Cause};

use crate::inner::HostId;
use crate::time::Time;

/// Something that happened, with place, time and cause. Nothing in it is formatted.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number in the run; rises.
    pub id: u64,
    /// True time.
    pub at: Time,
    /// Where; `None` for what concerns the world as a whole.
    pub host: Option<HostId>,
    /// The event of the world that led to it.
    pub cause: Cause,
    /// What.
    pub what: Observation,
}
