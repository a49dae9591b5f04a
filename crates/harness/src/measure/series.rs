//! The run cut into bins of 250 ms: what was offered, acknowledged, consumed, how late, how far behind.

use serde::Serialize;

use crate::history::{SendOutcome, Value};

use super::{Gauge, Input, Latency, Samples, Window, ended};

/// A bin's length, ns.
pub const BIN_NS: u64 = 250_000_000;

/// One load in one bin. Counts are of events within the bin; latencies of operations *intended* in it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Bin {
    /// The bin's beginning, ns.
    pub at_ns: u64,
    /// The phase it begins in.
    pub phase: String,
    /// The load.
    pub load: String,
    /// Its topic.
    pub topic: String,
    /// Operations intended.
    pub offered: u64,
    /// Acknowledgements.
    pub acked: u64,
    /// Records that arrived at a consumer for the first time.
    pub consumed: u64,
    /// Bytes of the acknowledged values.
    pub bytes: u64,
    /// Operations that failed or whose outcome became unknown.
    pub errors: u64,
    /// From the intended send.
    pub latency: Latency,
    /// From the real send.
    pub service: Latency,
    /// From the intended send to the first arrival at a consumer.
    pub e2e: Latency,
    /// Records acknowledged and not yet consumed, at the bin's end.
    pub lag: u64,
    /// Operations sent and not ended, at the bin's end.
    pub in_flight: u64,
    /// Partitions without a leader, at most.
    pub leaderless: u32,
    /// Partitions with a small ISR, at most.
    pub under_replicated: u32,
}

/// All bins, load by load.
pub(super) struct Series {
    pub(super) bins: Vec<Bin>,
}

#[derive(Default)]
struct Column {
    offered: u64,
    acked: u64,
    consumed: u64,
    bytes: u64,
    errors: u64,
    sent: u64,
    ended: u64,
    latency: Samples,
    service: Samples,
    e2e: Samples,
}

impl Series {
    pub(super) fn of(input: &Input<'_>, first_read: &[u64]) -> Self {
        let begin = input.windows.first().map_or(0, |window| window.start_ns);
        let count = usize::try_from(input.end_ns.saturating_sub(begin).div_ceil(BIN_NS)).unwrap_or(0);
        let mut bins = Vec::new();
        for (index, load) in input.history.loads.iter().enumerate() {
            if !load.produces {
                continue;
            }
            let consumed_at_all = input.history.loads.iter().any(|other| !other.produces && other.topic == load.topic);
            let columns = columns(input, index, first_read, begin, count);
            let (mut lag, mut in_flight) = (0u64, 0u64);
            for (number, column) in columns.into_iter().enumerate() {
                let at_ns = begin + number as u64 * BIN_NS;
                lag = (lag + column.acked).saturating_sub(column.consumed);
                in_flight = (in_flight + column.sent).saturating_sub(column.ended);
                let gauge = worst(input.gauges, at_ns, at_ns + BIN_NS);
                let (latency, service, e2e) =
                    (column.latency.summary(), column.service.summary(), column.e2e.summary());
                bins.push(Bin {
                    at_ns,
                    phase: phase_at(input.windows, at_ns).to_owned(),
                    load: load.name.clone(),
                    topic: load.topic.clone(),
                    offered: column.offered,
                    acked: column.acked,
                    consumed: column.consumed,
                    bytes: column.bytes,
                    errors: column.errors,
                    latency,
                    service,
                    e2e,
                    lag: if consumed_at_all { lag } else { 0 },
                    in_flight,
                    leaderless: gauge.leaderless,
                    under_replicated: gauge.under_replicated,
                });
            }
        }
        Self { bins }
    }

    /// The largest lag of a topic in a window.
    pub(super) fn lag_max(&self, topic: &str, window: &Window) -> u64 {
        let within = |bin: &&Bin| bin.topic == topic && (window.start_ns..window.end_ns).contains(&bin.at_ns);
        self.bins.iter().filter(within).map(|bin| bin.lag).max().unwrap_or(0)
    }
}

fn columns(input: &Input<'_>, load: usize, first_read: &[u64], begin: u64, count: usize) -> Vec<Column> {
    let mut columns: Vec<Column> = (0..count).map(|_| Column::default()).collect();
    let index = |at: u64| (at >= begin).then(|| usize::try_from((at - begin) / BIN_NS).ok()).flatten();
    let mut on = |at: u64, change: &mut dyn FnMut(&mut Column)| {
        if let Some(column) = index(at).and_then(|index| columns.get_mut(index)) {
            change(column);
        }
    };
    for (send, read_at) in input.history.sends.iter().zip(first_read) {
        if usize::from(send.load) != load {
            continue;
        }
        let (end, censored) = ended(send, input.end_ns);
        on(send.intended_ns, &mut |column| {
            column.offered += 1;
            column.latency.add(end - send.intended_ns, censored);
            column.service.add(end.saturating_sub(send.sent_ns), censored);
            if *read_at != u64::MAX {
                column.e2e.add(read_at.saturating_sub(send.intended_ns), false);
            }
        });
        on(send.sent_ns, &mut |column| column.sent += 1);
        match send.outcome {
            SendOutcome::Ok(_) => on(send.done_ns, &mut |column| {
                column.acked += 1;
                column.ended += 1;
                column.bytes += u64::from(send.size);
            }),
            SendOutcome::Failed(_) | SendOutcome::Unknown(_) => on(send.done_ns, &mut |column| {
                column.errors += 1;
                column.ended += 1;
            }),
            SendOutcome::Unresolved => {}
        }
    }
    for read in &input.history.reads {
        let Value::Of(id) = read.value else { continue };
        let Some(send) = usize::try_from(id).ok().and_then(|id| input.history.sends.get(id)) else { continue };
        let first = usize::try_from(id).ok().and_then(|id| first_read.get(id)).copied();
        // Records of unknown outcome were written too; they are no lag, since nobody was told that they are there.
        if usize::from(send.load) == load && first == Some(read.at_ns) && matches!(send.outcome, SendOutcome::Ok(_)) {
            on(read.at_ns.max(send.done_ns), &mut |column| column.consumed += 1);
        }
    }
    columns
}

fn phase_at(windows: &[Window], at: u64) -> &str {
    windows.iter().rfind(|window| window.start_ns <= at).map_or("", |window| window.name.as_str())
}

/// The worst state of the cluster within `from..to`.
fn worst(gauges: &[Gauge], from: u64, to: u64) -> Gauge {
    let first = gauges.iter().rposition(|gauge| gauge.at_ns <= from).unwrap_or(0);
    gauges[first.min(gauges.len())..].iter().take_while(|gauge| gauge.at_ns < to).fold(
        Gauge::default(),
        |worst, gauge| Gauge {
            at_ns: from,
            leaderless: worst.leaderless.max(gauge.leaderless),
            under_replicated: worst.under_replicated.max(gauge.under_replicated),
            isr_min: gauge.isr_min,
        },
    )
}
