//! What carries data from one host to another, one way, and what is the matter with it.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::fault::FaultId;
use crate::inner::{HostId, HostState};
use crate::streams::{Streams, below, strikes};
use crate::time::nanos;

/// How fast a link is, one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkProfile {
    /// What every flight takes.
    pub latency: Duration,
    /// What a flight may take in addition, equally likely up to this.
    pub jitter: Duration,
    /// Bytes a second; `None` is no limit.
    pub bytes_per_second: Option<u64>,
}

impl Default for LinkProfile {
    /// The profile `ideal`: 100 us each way, no jitter, no limit.
    fn default() -> Self {
        Self { latency: Duration::from_micros(100), jitter: Duration::ZERO, bytes_per_second: None }
    }
}

/// From a host to itself.
const LOOPBACK: LinkProfile =
    LinkProfile { latency: Duration::from_micros(10), jitter: Duration::ZERO, bytes_per_second: None };

/// Faults that strike some of what a link carries, with a stream of random numbers of their own.
pub(crate) struct Chance {
    faults: Vec<Strike>,
    rng: ChaCha8Rng,
}

#[derive(Clone, Copy)]
struct Strike {
    fault: FaultId,
    /// Of a million.
    share: u32,
    /// What it does to whom it strikes, in nanoseconds.
    by: u64,
}

impl Chance {
    fn new(rng: ChaCha8Rng) -> Self {
        Self { faults: Vec::new(), rng }
    }

    pub fn begin(&mut self, fault: FaultId, share: u32, by: u64) {
        self.faults.push(Strike { fault, share, by });
    }

    pub fn end(&mut self, fault: FaultId) {
        self.faults.retain(|strike| strike.fault != fault);
    }

    /// What strikes next, and by how much. The first that strikes is told; each draws, so that one does not move another.
    pub fn draw(&mut self) -> Option<(FaultId, u64)> {
        let mut struck = None;
        for strike in &self.faults {
            let hits = strikes(&mut self.rng, strike.share);
            if hits && struck.is_none() {
                struck = Some((strike.fault, strike.by));
            }
        }
        struck
    }
}

/// A link, one way.
pub(crate) struct Link {
    pub profile: LinkProfile,
    /// Faults that slow it; the last counts.
    pub slowed: Vec<(FaultId, LinkProfile)>,
    /// Faults that cut it; one that cuts both hosts off is here twice.
    pub cuts: Vec<FaultId>,
    /// Faults that lose some flights.
    pub loss: Chance,
    /// Faults that hold some flights back.
    pub late: Chance,
    /// When the last cut ended: what departed before is lost.
    pub healed_at: u64,
    /// When the last byte given to it will have left.
    pub busy_until: u64,
    rng: ChaCha8Rng,
}

impl Link {
    pub fn effective(&self) -> &LinkProfile {
        self.slowed.last().map_or(&self.profile, |(_, profile)| profile)
    }

    pub fn latency(&self) -> u64 {
        nanos(self.effective().latency)
    }

    /// Takes `bytes` at `now`; says when the last of them will have left.
    pub fn occupy(&mut self, now: u64, bytes: usize) -> u64 {
        let Some(limit) = self.effective().bytes_per_second else { return now };
        let time = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(limit.max(1)));
        self.busy_until = self.busy_until.max(now).saturating_add(u64::try_from(time).unwrap_or(u64::MAX));
        self.busy_until
    }

    /// The latency of one flight.
    pub fn draw_latency(&mut self) -> u64 {
        let profile = *self.effective();
        let jitter = nanos(profile.jitter);
        nanos(profile.latency) + if jitter == 0 { 0 } else { below(&mut self.rng, jitter.saturating_add(1)) }
    }
}

/// All links, made when first used.
pub(crate) struct Links {
    default: LinkProfile,
    /// By sender, then receiver.
    rows: Vec<Vec<Option<Box<Link>>>>,
    /// Hosts that are cut from all others.
    pub isolated: Vec<(FaultId, HostId)>,
}

impl Links {
    pub fn new(default: LinkProfile) -> Self {
        Self { default, rows: Vec::new(), isolated: Vec::new() }
    }

    pub fn get(&mut self, streams: Streams, hosts: &[HostState], from: HostId, to: HostId) -> &mut Link {
        if self.rows.len() <= from.index() {
            self.rows.resize_with(from.index() + 1, Vec::new);
        }
        let row = &mut self.rows[from.index()];
        if row.len() <= to.index() {
            row.resize_with(to.index() + 1, || None);
        }
        row[to.index()].get_or_insert_with(|| {
            let names = format!("{}/{}", hosts[from.index()].name, hosts[to.index()].name);
            let isolated = self.isolated.iter().filter(|(_, host)| from != to && (*host == from || *host == to));
            Box::new(Link {
                profile: if from == to { LOOPBACK } else { self.default },
                slowed: Vec::new(),
                cuts: isolated.map(|(fault, _)| *fault).collect(),
                healed_at: 0,
                busy_until: 0,
                loss: Chance::new(streams.get(&format!("loss/{names}"))),
                late: Chance::new(streams.get(&format!("late/{names}"))),
                rng: streams.get(&format!("net/{names}")),
            })
        })
    }
}
