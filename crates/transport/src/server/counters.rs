//! What a server has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::ApiKey;

/// Counts of one server, from its start.
#[derive(Debug)]
pub struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    /// By api key.
    apis: Vec<OfApi>,
}

/// Buckets of latencies: the i-th has those below [`latency_bound`] of i, the last one all others.
pub const LATENCY_BUCKETS: usize = 20;

/// The upper bound of a bucket; nothing for the last one. They double from 64 µs to 16.8 s.
pub fn latency_bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < LATENCY_BUCKETS).then(|| Duration::from_micros(64 << bucket))
}

#[derive(Debug, Default)]
struct OfApi {
    /// Requests taken.
    requests: AtomicU64,
    /// Responses handed to the connection.
    responses: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    /// From a request's arrival to its response, all together.
    micros: AtomicU64,
    latencies: [AtomicU64; LATENCY_BUCKETS],
}

impl Default for Counters {
    fn default() -> Self {
        let last = ApiKey::ALL.iter().map(|key| index(*key)).max().unwrap_or(0);
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            apis: (0..=last).map(|_| OfApi::default()).collect(),
        }
    }
}

fn index(key: ApiKey) -> usize {
    usize::try_from(key.code()).expect("api keys count from zero")
}

fn bump(counter: &AtomicU64) {
    add(counter, 1);
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        read(&self.opened).saturating_sub(read(&self.closed))
    }

    /// Connections accepted.
    pub fn connections_accepted(&self) -> u64 {
        read(&self.opened)
    }

    /// Connections closed for what their peer sent: no frame, no header, an unknown API or version.
    pub fn connections_refused(&self) -> u64 {
        read(&self.refused)
    }

    /// Requests of this API taken.
    pub fn requests(&self, key: ApiKey) -> u64 {
        read(&self.apis[index(key)].requests)
    }

    /// Responses of this API written, or on their way.
    pub fn responses(&self, key: ApiKey) -> u64 {
        read(&self.apis[index(key)].responses)
    }

    /// Bytes of this API's requests and of its responses, without the four of their lengths.
    pub fn bytes(&self, key: ApiKey) -> (u64, u64) {
        let api = &self.apis[index(key)];
        (read(&api.request_bytes), read(&api.response_bytes))
    }

    /// How long this API's requests took from arrival to response: how many fell into each bucket, and the sum.
    pub fn latencies(&self, key: ApiKey) -> ([u64; LATENCY_BUCKETS], Duration) {
        let api = &self.apis[index(key)];
        (std::array::from_fn(|bucket| read(&api.latencies[bucket])), Duration::from_micros(read(&api.micros)))
    }

    /// Responses of all APIs.
    pub fn responses_total(&self) -> u64 {
        self.apis.iter().map(|api| read(&api.responses)).sum()
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

    pub(super) fn request(&self, key: ApiKey, bytes: usize) {
        let api = &self.apis[index(key)];
        bump(&api.requests);
        add(&api.request_bytes, bytes as u64);
    }

    pub(super) fn response(&self, key: ApiKey, bytes: usize, took: Duration) {
        let api = &self.apis[index(key)];
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        bump(&api.responses);
        add(&api.response_bytes, bytes as u64);
        add(&api.micros, micros);
        bump(&api.latencies[bucket(micros)]);
    }
}

fn bucket(micros: u64) -> usize {
    let doublings = u64::BITS - (micros >> 6).leading_zeros();
    (doublings as usize).min(LATENCY_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        for micros in [0, 1, 63, 64, 127, 128, 1_000, 65_535, 65_536, 16_777_215, 16_777_216, u64::MAX] {
            let bucket = bucket(micros);
            let took = Duration::from_micros(micros);
            assert!(latency_bound(bucket).is_none_or(|bound| took < bound), "{micros}");
            assert!(bucket == 0 || latency_bound(bucket - 1).is_some_and(|bound| took >= bound), "{micros}");
        }
    }
}
