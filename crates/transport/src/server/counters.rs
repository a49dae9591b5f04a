//! What a server has done.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::ApiKey;

/// Counts of one server, from its start.
#[derive(Debug)]
pub struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    /// Requests taken, by api key.
    requests: Vec<AtomicU64>,
    /// Responses handed to the connection, by api key.
    responses: Vec<AtomicU64>,
}

impl Default for Counters {
    fn default() -> Self {
        let last = ApiKey::ALL.iter().map(|key| index(*key)).max().unwrap_or(0);
        let zeros = || (0..=last).map(|_| AtomicU64::new(0)).collect();
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            requests: zeros(),
            responses: zeros(),
        }
    }
}

fn index(key: ApiKey) -> usize {
    usize::try_from(key.code()).expect("api keys count from zero")
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.opened.load(Ordering::Relaxed).saturating_sub(self.closed.load(Ordering::Relaxed))
    }

    /// Connections accepted.
    pub fn connections_accepted(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections closed for what their peer sent: no frame, no header, an unknown API or version.
    pub fn connections_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests of this API taken.
    pub fn requests(&self, key: ApiKey) -> u64 {
        self.requests[index(key)].load(Ordering::Relaxed)
    }

    /// Responses of this API written, or on their way.
    pub fn responses(&self, key: ApiKey) -> u64 {
        self.responses[index(key)].load(Ordering::Relaxed)
    }

    /// Responses of all APIs.
    pub fn responses_total(&self) -> u64 {
        self.responses.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn connection_opened(&self) {
        bump(&self.opened);
    }

    pub(super) fn connection_closed(&self) {
        bump(&self.closed);
    }

    pub(super) fn refused(&self) {
        bump(&self.refused);
    }

    pub(super) fn request(&self, key: ApiKey) {
        bump(&self.requests[index(key)]);
    }

    pub(super) fn response(&self, key: ApiKey) {
        bump(&self.responses[index(key)]);
    }
}
