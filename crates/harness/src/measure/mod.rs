//! Numbers from a history: throughput, latency from the intended send, unavailability, recovery.
//!
//! [`measure`] is a function of the history and of the windows of phases and faults; no clock, no order of calls. What did
//! not end counts at its age (censored), never dropped. An operation belongs to the phase in which it was *intended*;
//! acknowledgements are counted when they came.

mod gaps;
mod series;
#[cfg(test)]
pub(crate) mod tests;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::history::{History, Send, SendOutcome, Value};

pub use gaps::{Gap, gaps};
pub use series::{BIN_NS, Bin};

/// A phase as it really ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Window {
    /// Its name.
    pub name: String,
    /// Its beginning, ns.
    pub start_ns: u64,
    /// Its end, ns.
    pub end_ns: u64,
    /// Whether its numbers count.
    pub measured: bool,
}

/// A fault as it really happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FaultSpan {
    /// Its label.
    pub label: String,
    /// Its word.
    pub kind: String,
    /// What was done, hosts resolved: `kill b2 (led 2/6)`.
    pub what: String,
    /// Its beginning, ns.
    pub start_ns: u64,
    /// Its end, ns; the end of the run if it had none.
    pub end_ns: u64,
    /// The hosts it hit.
    pub hosts: Vec<String>,
    /// How many partitions lost their leader by it.
    pub partitions: u64,
    /// How often it had an effect, as the world counts: 0 means that it did not matter.
    pub hits: u64,
}

/// The state of the cluster from this moment on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Gauge {
    /// Since when, ns.
    pub at_ns: u64,
    /// Partitions without a leader.
    pub leaderless: u32,
    /// Partitions with fewer in-sync replicas than replicas.
    pub under_replicated: u32,
    /// The smallest ISR.
    pub isr_min: u32,
}

/// Latencies in µs, with their number and how many of them are lower bounds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Latency {
    /// How many.
    pub samples: u64,
    /// How many had not ended: they count at their age.
    pub censored: u64,
    /// Half are at most this.
    pub p50_us: u64,
    /// 90 % are at most this.
    pub p90_us: u64,
    /// 99 % are at most this.
    pub p99_us: u64,
    /// 99.9 % are at most this.
    pub p999_us: u64,
    /// 99.99 % are at most this.
    pub p9999_us: u64,
    /// All are at most this.
    pub max_us: u64,
    /// The mean.
    pub mean_us: u64,
}

/// One load in one phase.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PhaseRow {
    /// The phase.
    pub phase: String,
    /// The load.
    pub load: String,
    /// Its topic.
    pub topic: String,
    /// Whether the phase is measured.
    pub measured: bool,
    /// The phase's beginning, ns.
    pub start_ns: u64,
    /// The phase's end, ns.
    pub end_ns: u64,
    /// Operations intended.
    pub offered: u64,
    /// Of these, acknowledged at some time.
    pub acked: u64,
    /// Acknowledgements that came within the phase.
    pub acked_within: u64,
    /// Of those intended, failed for certain.
    pub failed: u64,
    /// Of those intended, with an unknown outcome.
    pub unknown: u64,
    /// Of those intended, without an outcome at the end of the run.
    pub unresolved: u64,
    /// Bytes of the values acknowledged within the phase.
    pub bytes_within: u64,
    /// From the intended send to the outcome.
    pub latency: Latency,
    /// From the real send to the outcome.
    pub service: Latency,
    /// From the intended send to the first arrival at a consumer.
    pub e2e: Latency,
    /// From the intended send to the real send: how late the load generator was.
    pub schedule_lag: Latency,
    /// Most records acknowledged and not yet consumed.
    pub lag_max: u64,
}

impl PhaseRow {
    /// The phase's length in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }

    /// Acknowledgements a second.
    pub fn throughput(&self) -> f64 {
        if self.end_ns > self.start_ns { self.acked_within as f64 / self.seconds() } else { 0.0 }
    }
}

/// What one fault did to the clients.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FaultRow {
    /// The fault.
    #[serde(flatten)]
    pub span: FaultSpan,
    /// The worst partition's longest time without an acknowledgement while a send was pending, ns.
    pub unavailable_ns: u64,
    /// How many partitions had a gap of more than a second, or than a tenth of the worst.
    pub partitions_affected: u64,
    /// From its beginning until rate and latency were as before, ns; nothing if they never were, or nobody can tell.
    pub recover_ns: Option<u64>,
    /// Why there is no `recover_ns`.
    pub recover_why_not: Option<String>,
    /// The deepest rate against the mean before, in hundredths of a percent (-10000 = nothing got through).
    pub dip_bp: i64,
    /// Records slower than any before the fault.
    pub delayed: u64,
    /// Sends that failed or stayed without an answer.
    pub errors: u64,
}

/// All numbers of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Measured {
    /// Every load in every phase.
    pub phases: Vec<PhaseRow>,
    /// Every fault.
    pub faults: Vec<FaultRow>,
    /// Every bin of 250 ms.
    pub bins: Vec<Bin>,
    /// From the intended send to the outcome, of everything that was intended in a measured phase.
    pub overall: Latency,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What clients did.
    pub history: &'a History,
    /// The phases as they ran, in order.
    pub windows: &'a [Window],
    /// The faults as they happened, in order.
    pub faults: &'a [FaultSpan],
    /// The cluster's state, each change in order of time.
    pub gauges: &'a [Gauge],
    /// When the loads ended, ns.
    pub end_ns: u64,
}

/// Computes all numbers of a run.
pub fn measure(input: &Input<'_>) -> Measured {
    let first_read = first_reads(input.history);
    let series = series::Series::of(input, &first_read);
    let mut phases = Vec::new();
    for window in input.windows {
        for (index, load) in input.history.loads.iter().enumerate() {
            if load.produces {
                phases.push(phase_row(input, window, index, &first_read, &series));
            }
        }
    }
    let faults = input.faults.iter().enumerate().map(|(index, _)| gaps::fault_row(input, index, &series)).collect();
    Measured { phases, faults, bins: series.bins, overall: overall(input) }
}

fn overall(input: &Input<'_>) -> Latency {
    let measured =
        |at: u64| input.windows.iter().any(|window| window.measured && (window.start_ns..window.end_ns).contains(&at));
    let mut latency = Recorder::default();
    for send in input.history.sends.iter().filter(|send| measured(send.intended_ns)) {
        let (end, censored) = ended(send, input.end_ns);
        latency.add(end - send.intended_ns, censored);
    }
    latency.summary()
}

/// When each send's record first arrived at a consumer, ns; `u64::MAX` if it never did.
pub(crate) fn first_reads(history: &History) -> Vec<u64> {
    let mut first = vec![u64::MAX; history.sends.len()];
    for read in &history.reads {
        if let Value::Of(id) = read.value
            && let Some(place) = usize::try_from(id).ok().and_then(|id| first.get_mut(id))
        {
            *place = (*place).min(read.at_ns);
        }
    }
    first
}

fn phase_row(input: &Input<'_>, window: &Window, load: usize, first_read: &[u64], series: &series::Series) -> PhaseRow {
    let info = &input.history.loads[load];
    let within = |at: u64| (window.start_ns..window.end_ns).contains(&at);
    let consumed = input.history.loads.iter().any(|other| !other.produces && other.topic == info.topic);
    let (mut latency, mut service, mut e2e, mut lag) =
        (Recorder::default(), Recorder::default(), Recorder::default(), Recorder::default());
    let mut row = PhaseRow {
        phase: window.name.clone(),
        load: info.name.clone(),
        topic: info.topic.clone(),
        measured: window.measured,
        start_ns: window.start_ns,
        end_ns: window.end_ns,
        offered: 0,
        acked: 0,
        acked_within: 0,
        failed: 0,
        unknown: 0,
        unresolved: 0,
        bytes_within: 0,
        latency: Latency::default(),
        service: Latency::default(),
        e2e: Latency::default(),
        schedule_lag: Latency::default(),
        lag_max: series.lag_max(&info.topic, window),
    };
    for (send, read_at) in input.history.sends.iter().zip(first_read) {
        if usize::from(send.load) != load {
            continue;
        }
        if matches!(send.outcome, SendOutcome::Ok(_)) && within(send.done_ns) {
            row.acked_within += 1;
            row.bytes_within += u64::from(send.size);
        }
        if !within(send.intended_ns) {
            continue;
        }
        row.offered += 1;
        match send.outcome {
            SendOutcome::Ok(_) => row.acked += 1,
            SendOutcome::Failed(_) => row.failed += 1,
            SendOutcome::Unknown(_) => row.unknown += 1,
            SendOutcome::Unresolved => row.unresolved += 1,
        }
        let (end, censored) = ended(send, input.end_ns);
        latency.add(end - send.intended_ns, censored);
        service.add(end.saturating_sub(send.sent_ns), censored);
        lag.add(send.sent_ns.saturating_sub(send.intended_ns), false);
        if consumed && *read_at != u64::MAX {
            e2e.add(read_at.saturating_sub(send.intended_ns), false);
        } else if consumed && matches!(send.outcome, SendOutcome::Ok(_)) {
            e2e.add(input.end_ns.saturating_sub(send.intended_ns), true);
        }
    }
    row.latency = latency.summary();
    row.service = service.summary();
    row.e2e = e2e.summary();
    row.schedule_lag = lag.summary();
    row
}

/// When an operation ended; if it did not, the end of the run, and that this is a lower bound. A failure or an unknown
/// outcome counts at the time it took: the client waited for it.
pub(crate) fn ended(send: &Send, end_ns: u64) -> (u64, bool) {
    match send.outcome {
        SendOutcome::Unresolved => (end_ns.max(send.intended_ns), true),
        _ => (send.done_ns.max(send.intended_ns), false),
    }
}

/// Collects latencies: 3 digits, from 1 µs to an hour.
pub(crate) struct Recorder {
    histogram: Histogram<u64>,
    censored: u64,
    /// The histogram only knows its bucket.
    max_us: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are good");
        Self { histogram, censored: 0, max_us: 0 }
    }
}

impl Recorder {
    /// Adds a latency in ns; rounded up to whole µs.
    pub(crate) fn add(&mut self, nanos: u64, censored: bool) {
        let micros = nanos.div_ceil(1_000);
        self.histogram.saturating_record(micros.max(1));
        self.max_us = self.max_us.max(micros);
        self.censored += u64::from(censored);
    }

    /// The numbers that are printed.
    pub(crate) fn summary(&self) -> Latency {
        if self.histogram.is_empty() {
            return Latency::default();
        }
        let at = |quantile: f64| self.histogram.value_at_quantile(quantile).min(self.max_us);
        Latency {
            samples: self.histogram.len(),
            censored: self.censored,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: self.max_us,
            mean_us: self.histogram.mean() as u64,
        }
    }
}

/// Latencies of a bin: few enough to be kept one by one. (A histogram of this range takes 200 kB, however empty.)
#[derive(Default)]
pub(crate) struct Samples {
    micros: Vec<u64>,
    censored: u64,
}

impl Samples {
    /// Adds a latency in ns; rounded up to whole µs.
    pub(crate) fn add(&mut self, nanos: u64, censored: bool) {
        self.micros.push(nanos.div_ceil(1_000));
        self.censored += u64::from(censored);
    }

    /// The numbers that are printed; exact.
    pub(crate) fn summary(mut self) -> Latency {
        self.micros.sort_unstable();
        let Some(max) = self.micros.last().copied() else { return Latency::default() };
        let count = self.micros.len();
        // The smallest value that `ten_thousandths` of all do not exceed.
        let at = |ten_thousandths: usize| self.micros[(count * ten_thousandths).div_ceil(10_000).clamp(1, count) - 1];
        Latency {
            samples: count as u64,
            censored: self.censored,
            p50_us: at(5_000),
            p90_us: at(9_000),
            p99_us: at(9_900),
            p999_us: at(9_990),
            p9999_us: at(9_999),
            max_us: max,
            mean_us: self.micros.iter().sum::<u64>() / count as u64,
        }
    }
}
