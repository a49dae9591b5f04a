//! Times without an acknowledgement, and how a fault was felt.

use std::collections::BTreeMap;

use protocol::TopicPartition;

use crate::history::{History, SendOutcome};

use super::series::{BIN_NS, Series};
use super::{FaultRow, Input, ended};

/// A time without an acknowledgement while at least one intended send was pending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gap {
    /// The acknowledgement before it, or the first send that waited.
    pub from_ns: u64,
    /// The acknowledgement after it, or the end.
    pub to_ns: u64,
}

impl Gap {
    /// How much of it lies within `from..to`.
    pub fn within(&self, from: u64, to: u64) -> u64 {
        self.to_ns.min(to).saturating_sub(self.from_ns.max(from))
    }
}

/// Every gap of every partition that `keep` wants, in order of time. Definition in `contract.md`: between two consecutive
/// acknowledgements while at least one intended send was pending.
pub fn gaps(
    history: &History,
    end_ns: u64,
    keep: impl Fn(&TopicPartition) -> bool,
) -> BTreeMap<&TopicPartition, Vec<Gap>> {
    // (time, +1 begins to wait | -1 ends, whether it ends with an acknowledgement)
    let mut events: BTreeMap<&TopicPartition, Vec<(u64, i8, bool)>> = BTreeMap::new();
    for send in &history.sends {
        if !keep(&send.partition) {
            continue;
        }
        let list = events.entry(&send.partition).or_default();
        list.push((send.intended_ns, 1, false));
        let (end, _) = ended(send, end_ns);
        if send.outcome != SendOutcome::Unresolved {
            list.push((end, -1, matches!(send.outcome, SendOutcome::Ok(_))));
        }
    }
    events.into_iter().map(|(partition, list)| (partition, gaps_of(list, end_ns))).collect()
}

fn gaps_of(mut events: Vec<(u64, i8, bool)>, end_ns: u64) -> Vec<Gap> {
    // At one instant, what begins to wait comes before what ends: an operation of no length is no gap either way.
    events.sort_by_key(|(at, change, _)| (*at, -*change));
    let mut gaps = Vec::new();
    let mut pending = 0i64;
    let mut since: Option<u64> = None;
    let mut last = 0;
    for (at, change, acknowledged) in events {
        pending += i64::from(change);
        if change > 0 {
            since.get_or_insert(at);
            continue;
        }
        if acknowledged {
            if let Some(from) = since.take()
                && at > from
            {
                gaps.push(Gap { from_ns: from, to_ns: at });
            }
            since = (pending > 0).then_some(at);
        }
        // A failure ends no gap: nobody was served. Many quick refusals are one long outage.
        last = at;
    }
    // Once nobody waits and nobody asks again, the time that passes is nobody's loss.
    let end_ns = if pending > 0 { end_ns } else { last };
    if let Some(from) = since
        && end_ns > from
    {
        gaps.push(Gap { from_ns: from, to_ns: end_ns });
    }
    gaps
}

/// How long before a fault its surroundings are looked at, ns.
const BEFORE_NS: u64 = 5_000_000_000;
/// How long rate and latency must be as before, ns.
const STEADY_NS: u64 = 2_000_000_000;
/// Fewer samples than this allow no call.
const SAMPLES_MIN: usize = 1_000;

/// What fault `index` did, up to the next fault or the end.
pub(super) fn fault_row(input: &Input<'_>, index: usize, series: &Series) -> FaultRow {
    let span = &input.faults[index];
    let start = span.start_ns;
    let next = input.faults[index + 1..].iter().map(|fault| fault.start_ns).find(|at| *at > start);
    let stop = next.unwrap_or(input.end_ns).min(input.end_ns).max(start);

    let all = gaps(input.history, input.end_ns, |_| true);
    let worst: Vec<u64> =
        all.values().map(|list| list.iter().map(|gap| gap.within(start, stop)).max().unwrap_or(0)).collect();
    let unavailable_ns = worst.iter().copied().max().unwrap_or(0);
    let threshold = 1_000_000_000.min(unavailable_ns / 10);
    let partitions_affected = worst.iter().filter(|gap| **gap > threshold && threshold > 0).count() as u64;

    let before = start.saturating_sub(BEFORE_NS).max(input.windows.first().map_or(0, |window| window.start_ns));
    let mut calm: Vec<u64> = Vec::new();
    let (mut errors, mut in_window): (u64, Vec<u64>) = (0, Vec::new());
    for send in &input.history.sends {
        let (end, _) = ended(send, input.end_ns);
        let latency = end - send.intended_ns;
        if (start..stop).contains(&send.intended_ns) {
            in_window.push(latency);
            errors += u64::from(!matches!(send.outcome, SendOutcome::Ok(_)));
        } else if (before..start).contains(&end) && matches!(send.outcome, SendOutcome::Ok(_)) {
            calm.push(latency);
        }
    }
    let calm_max = calm.iter().copied().max().unwrap_or(u64::MAX);
    let delayed = in_window.iter().filter(|latency| **latency > calm_max).count() as u64;

    let seconds = (start - before) as f64 / 1e9;
    let mean = if seconds > 0.0 { calm.len() as f64 / seconds } else { 0.0 };
    let rates = rates(series, start, stop);
    let dip_bp = match rates.iter().copied().min_by(f64::total_cmp) {
        Some(least) if mean > 0.0 => ((least / mean - 1.0) * 10_000.0).min(0.0) as i64,
        _ => 0,
    };
    let recovery = recovery(input, start, stop, &mut calm, mean);
    FaultRow {
        span: span.clone(),
        unavailable_ns,
        partitions_affected,
        recover_ns: recovery.as_ref().ok().copied(),
        recover_why_not: recovery.err(),
        dip_bp,
        delayed,
        errors,
    }
}

/// Acknowledgements a second in each whole bin of `from..to`, all loads together.
fn rates(series: &Series, from: u64, to: u64) -> Vec<f64> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for bin in &series.bins {
        if bin.at_ns >= from && bin.at_ns + BIN_NS <= to {
            *sums.entry(bin.at_ns).or_insert(0) += bin.acked;
        }
    }
    sums.into_values().map(|acked| acked as f64 / (BIN_NS as f64 / 1e9)).collect()
}

/// The first time after which, for 2 s, the acknowledged rate is at least 95 % of the mean before and p99 at most 150 % of
/// the p99 before; backlog included, since latencies are taken where operations *end*.
fn recovery(input: &Input<'_>, start: u64, stop: u64, calm: &mut [u64], mean: f64) -> Result<u64, String> {
    if calm.len() < SAMPLES_MIN {
        return Err(format!("only {} samples before the fault", calm.len()));
    }
    calm.sort_unstable();
    let p99_before = calm[calm.len() * 99 / 100];
    let mut ends: Vec<(u64, u64)> = input
        .history
        .sends
        .iter()
        .filter(|send| matches!(send.outcome, SendOutcome::Ok(_)) && send.done_ns >= start)
        .map(|send| (send.done_ns, send.done_ns - send.intended_ns))
        .collect();
    ends.sort_unstable();
    let (mut first, mut last) = (0, 0);
    let mut at = start;
    let mut enough = false;
    while at + STEADY_NS <= stop {
        while first < ends.len() && ends[first].0 < at {
            first += 1;
        }
        while last < ends.len() && ends[last].0 < at + STEADY_NS {
            last += 1;
        }
        let window = &ends[first.min(last)..last];
        enough |= window.len() >= SAMPLES_MIN;
        if window.len() >= SAMPLES_MIN && window.len() as f64 / (STEADY_NS as f64 / 1e9) >= 0.95 * mean {
            let mut latencies: Vec<u64> = window.iter().map(|(_, latency)| *latency).collect();
            latencies.sort_unstable();
            if latencies[latencies.len() * 99 / 100] <= p99_before + p99_before / 2 {
                return Ok(at - start);
            }
        }
        at += BIN_NS / 5;
    }
    Err(if enough {
        "not before the next fault or the end".to_owned()
    } else {
        "too few samples after the fault".to_owned()
    })
}
