//! Numbers of a run made by hand.

use protocol::{Offset, TopicPartition};

use super::*;
use crate::history::LoadInfo;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// One load, 1,000 sends a second for 20 s over 2 partitions, each acknowledged after 2 ms; `outage` delays those of
/// partition 0 intended in it to its end.
pub(crate) fn history(outage: std::ops::Range<u64>) -> History {
    let partitions = vec![TopicPartition::new("orders", 0), TopicPartition::new("orders", 1)];
    let loads = vec![
        LoadInfo { name: "writers".into(), topic: "orders".into(), produces: true, idempotent: false, in_flight: 1 },
        LoadInfo { name: "readers".into(), topic: "orders".into(), produces: false, idempotent: false, in_flight: 0 },
    ];
    let mut history = History { loads, partitions, ..History::default() };
    for id in 0..20_000u64 {
        let intended = id * MS;
        let partition = usize::try_from(id % 2).unwrap();
        let stuck = partition == 0 && outage.contains(&intended);
        let done = if stuck { outage.end + 2 * MS } else { intended + 2 * MS };
        history.sends.push(Send {
            id,
            load: 0,
            client: 0,
            partition: history.partitions[partition].clone(),
            intended_ns: intended,
            sent_ns: intended,
            done_ns: done,
            acks: -1,
            size: 1024,
            outcome: SendOutcome::Ok(Offset(i64::try_from(id / 2).unwrap())),
        });
        history.reads.push(crate::history::Read {
            load: 1,
            client: 0,
            partition: u32::try_from(partition).unwrap(),
            offset: Offset(i64::try_from(id / 2).unwrap()),
            value: Value::Of(id),
            at_ns: done + MS,
        });
    }
    history
}

fn windows() -> Vec<Window> {
    vec![
        Window { name: "steady".into(), start_ns: 0, end_ns: 10 * S, measured: true },
        Window { name: "failover".into(), start_ns: 10 * S, end_ns: 20 * S, measured: true },
    ]
}

fn fault() -> FaultSpan {
    FaultSpan {
        hits: 1,
        label: "kill-leader".into(),
        kind: "kill".into(),
        what: "kill b2".into(),
        start_ns: 10 * S,
        end_ns: 18 * S,
        hosts: vec!["b2".into()],
        partitions: 1,
    }
}

#[test]
fn an_outage_of_two_seconds_is_two_seconds_unavailable_and_then_recovered() {
    let history = history(10 * S..12 * S);
    let (windows, faults) = (windows(), [fault()]);
    let input = Input { history: &history, windows: &windows, faults: &faults, gauges: &[], end_ns: 20 * S };
    let measured = measure(&input);
    let row = &measured.faults[0];
    assert_eq!(row.unavailable_ns, 2 * S + 2 * MS);
    assert_eq!(row.partitions_affected, 1);
    assert_eq!(row.delayed, 1_000);
    assert_eq!(row.errors, 0);
    assert!((-5_100..=-4_900).contains(&row.dip_bp), "half of the partitions stood still: {}", row.dip_bp);
    let recovered = row.recover_ns.expect("it recovered");
    assert!((2 * S..2 * S + 100 * MS).contains(&recovered), "{recovered}");

    let [steady, failover] = measured.phases.as_slice() else { panic!("two phases, one producing load") };
    assert_eq!((steady.offered, steady.acked, steady.latency.p99_us), (10_000, 10_000, 2_000));
    assert_eq!(steady.e2e.max_us, 3_000);
    assert!(failover.latency.max_us >= 2_000_000 && failover.latency.p50_us == 2_000, "{:?}", failover.latency);
    assert_eq!(failover.throughput().round() as u64, 1_000);
    assert_eq!(measured.bins.len(), 80);
    assert_eq!(measured.bins.iter().map(|bin| bin.acked).sum::<u64>(), 19_998, "the last 2 ms end after the run");
}

#[test]
fn what_never_ended_counts_at_its_age() {
    let mut history = history(0..0);
    for send in &mut history.sends[19_000..] {
        send.outcome = SendOutcome::Unresolved;
        send.done_ns = u64::MAX;
    }
    history.reads.truncate(19_000);
    let windows = windows();
    let input = Input { history: &history, windows: &windows, faults: &[], gauges: &[], end_ns: 20 * S };
    let measured = measure(&input);
    let row = &measured.phases[1];
    assert_eq!((row.unresolved, row.latency.censored), (1_000, 1_000));
    assert!(
        (999_000..=1_001_000).contains(&row.latency.max_us),
        "the oldest waits for a second: {}",
        row.latency.max_us
    );
    let gaps = gaps(&history, 20 * S, |_| true);
    let longest = gaps.values().flatten().map(|gap| gap.within(0, u64::MAX)).max();
    assert_eq!(longest, Some(S), "from the last acknowledgement to the end, with somebody waiting");
}

#[test]
fn a_quiet_partition_is_no_unavailable_one() {
    let mut history = history(0..0);
    // Nothing is intended between 5 s and 15 s.
    history.sends.retain(|send| !(5 * S..15 * S).contains(&send.intended_ns));
    let gaps = gaps(&history, 20 * S, |_| true);
    let longest = gaps.values().flatten().map(|gap| gap.within(0, u64::MAX)).max();
    assert_eq!(longest, Some(2 * MS));
}

#[test]
fn quick_refusals_are_one_long_outage() {
    let mut history = history(0..0);
    for send in &mut history.sends {
        if (5 * S..8 * S).contains(&send.intended_ns) {
            (send.done_ns, send.outcome) = (send.intended_ns + MS / 2, SendOutcome::Unknown(-1));
        }
    }
    let gaps = gaps(&history, 20 * S, |_| true);
    let longest = gaps.values().flatten().map(|gap| gap.within(0, u64::MAX)).max();
    // From the last acknowledgement before to the first after, of the partition that is asked every 2 ms.
    assert!(longest.is_some_and(|gap| (3 * S - 2 * MS..=3 * S + 4 * MS).contains(&gap)), "{longest:?}");
}
