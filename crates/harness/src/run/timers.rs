//! The time-outs of a scenario, and the bounds that follow from them.
//!
//! `timers = "fast"` scales Kafka's time-outs together, keeping their order. [`bound`] is the longest unavailability that
//! the configuration explains; the report prints it with its terms.

use std::collections::BTreeMap;

use broker::config::Numbers;

use crate::report::Bound;
use crate::scenario::{Scenario, Timers};

/// Kafka's time-outs, all scaled down together: property, ms.
pub const FAST: &[(&str, i64)] = &[
    ("broker.heartbeat.interval.ms", 300),
    ("broker.session.timeout.ms", 1_500),
    ("controller.quorum.fetch.timeout.ms", 600),
    ("controller.quorum.election.timeout.ms", 300),
    ("controller.quorum.election.backoff.max.ms", 300),
    ("controller.quorum.request.timeout.ms", 600),
    ("controller.quorum.append.linger.ms", 5),
    ("controller.socket.timeout.ms", 600),
    ("request.timeout.ms", 600),
    ("replica.fetch.wait.max.ms", 100),
    ("replica.fetch.backoff.ms", 100),
    ("replica.socket.timeout.ms", 600),
    ("replica.lag.time.max.ms", 2_500),
];

/// Time-outs of clients, ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientTimers {
    /// Connection set-up.
    pub connect: u64,
    /// Request time-out.
    pub request: u64,
    /// The first retry's back-off.
    pub backoff: u64,
    /// The longest back-off.
    pub backoff_max: u64,
}

/// The clients' time-outs of a scenario.
pub fn client_timers(timers: Timers) -> ClientTimers {
    match timers {
        Timers::Fast => ClientTimers { connect: 500, request: 1_000, backoff: 50, backoff_max: 500 },
        Timers::Kafka => ClientTimers { connect: 10_000, request: 30_000, backoff: 100, backoff_max: 1_000 },
    }
}

/// Every property of a host that is not its default: time-outs, then `config`, then `config_HOST`.
pub fn properties(scenario: &Scenario, host: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    if scenario.cluster.timers == Timers::Fast {
        properties.extend(FAST.iter().map(|(name, ms)| ((*name).to_owned(), ms.to_string())));
    }
    properties.extend(scenario.cluster.config.clone());
    properties.extend(scenario.cluster.host_config.get(host).cloned().unwrap_or_default());
    properties
}

/// A number of the configuration that all hosts share.
pub fn number(scenario: &Scenario, name: &str) -> i64 {
    properties(scenario, "")
        .get(name)
        .and_then(|text| text.parse().ok())
        .or_else(|| Numbers::default().get(name))
        .unwrap_or(0)
}

fn ms(scenario: &Scenario, name: &str) -> u64 {
    u64::try_from(number(scenario, name)).unwrap_or(0) * 1_000_000
}

/// How many rounds an election may take before it is called a split vote.
pub const ROUNDS: u64 = 2;

/// The longest unavailability of a partition after its leader is lost, with or without the loss of the controller.
pub fn bound(scenario: &Scenario, controller_lost: bool) -> Bound {
    let clients = client_timers(scenario.cluster.timers);
    let mut terms: Vec<(String, u64)> = Vec::new();
    let mut term = |name: &str, nanos: u64| terms.push((name.to_owned(), nanos));
    let election = ms(scenario, "controller.quorum.election.timeout.ms");
    let fetch = ms(scenario, "controller.quorum.fetch.timeout.ms");
    if controller_lost {
        term("quorum fetch time-out", fetch);
        term("2 rounds of (2 election + fetch time-outs)", ROUNDS * (2 * election + fetch));
    }
    term("broker session", ms(scenario, "broker.session.timeout.ms"));
    term("append linger", ms(scenario, "controller.quorum.append.linger.ms"));
    // The brokers' fetches of metadata wait at the controller; the answer to the next one carries the high watermark.
    let latency = scenario.hardware.link.latency.unwrap_or(100_000) + scenario.hardware.link.jitter.unwrap_or(0);
    term("metadata fetch", ms(scenario, "controller.quorum.retry.backoff.ms") + 4 * latency);
    term("client request time-out", clients.request * 1_000_000);
    term("client back-off", clients.backoff_max * 1_000_000);
    term("replica fetch back-off", ms(scenario, "replica.fetch.backoff.ms"));
    Bound { total_ns: terms.iter().map(|(_, nanos)| nanos).sum(), terms }
}

/// What the loads may have written so far, to one replica of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Records.
    pub records: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// In how long, ns.
    pub within_ns: u64,
}

/// How long after everything is healed the cluster may take to be whole: an election, a fresh session of every broker (a new
/// incarnation is refused until the old session ends), logs that are recovered, and followers that catch up, one of which may
/// have begun with an empty disk.
pub fn progress_bound(scenario: &Scenario, written: Written) -> Bound {
    let clients = client_timers(scenario.cluster.timers);
    let more = [
        ("old session of a new incarnation", ms(scenario, "broker.session.timeout.ms")),
        ("replica lag", ms(scenario, "replica.lag.time.max.ms")),
        ("replica request time-out", ms(scenario, "replica.socket.timeout.ms")),
        ("connection set-up", clients.connect * 1_000_000),
    ];
    let more = more.map(|(name, nanos)| (name.to_owned(), nanos));
    bound(scenario, true).and(more).and(recovery(scenario, written)).and(copy(scenario, written))
}

/// A segment has one batch at least, and two in a row hold more than `log.segment.bytes`.
fn segments(scenario: &Scenario, Written { records, bytes, .. }: Written) -> u64 {
    partitions(scenario) + records.min((2 * bytes).div_ceil(size(scenario, "log.segment.bytes")))
}

/// After an unclean stop what lies above the checkpointed recovery point is synced anew, one segment after the other: its
/// file and its index. That is what was written in one interval of checkpoints, at four times the mean rate.
fn recovery(scenario: &Scenario, written: Written) -> Option<(String, u64)> {
    let interval = ms(scenario, "log.flush.offset.checkpoint.interval.ms").saturating_mul(4);
    let part = |whole: u64| {
        let part =
            u128::from(whole) * u128::from(interval.min(written.within_ns)) / u128::from(written.within_ns.max(1));
        u64::try_from(part).expect("a part of it")
    };
    let share = Written { records: part(written.records), bytes: part(written.bytes), ..written };
    let disk = super::cluster::world_config(scenario).disk;
    let segments = segments(scenario, share);
    let each = 2 * nanos(disk.sync) + 4 * nanos(disk.read + disk.write);
    (written.records > 0).then(|| (format!("recovery of {segments} segments"), segments * each))
}

/// A fetch brings `replica.fetch.max.bytes`, or one batch; so two in a row bring more than that. What it brought is flushed as
/// often as `log.flush.interval.messages` says, and a segment is rolled once its file and index, then their names are synced.
fn copy(scenario: &Scenario, written: Written) -> Vec<(String, u64)> {
    let Written { records, bytes, .. } = written;
    if records == 0 {
        return Vec::new();
    }
    let config = super::cluster::world_config(scenario);
    let fetches = partitions(scenario) + records.min((2 * bytes).div_ceil(size(scenario, "replica.fetch.max.bytes")));
    let fetch = 2 * nanos(config.link.latency + config.link.jitter) + nanos(config.disk.read + config.disk.write);
    let flushes = records / size(scenario, "log.flush.interval.messages");
    let segments = segments(scenario, written);
    vec![
        (format!("copy in {fetches} fetches"), fetches * fetch),
        (format!("{flushes} flushes in it"), flushes * nanos(config.disk.sync)),
        (format!("{segments} rolls in it"), segments * 2 * nanos(config.disk.sync)),
    ]
}

fn partitions(scenario: &Scenario) -> u64 {
    scenario.topics.iter().map(|topic| u64::from(topic.partitions)).sum()
}

/// A size or a count that divides: at least 1.
fn size(scenario: &Scenario, name: &str) -> u64 {
    u64::try_from(number(scenario, name)).unwrap_or(0).max(1)
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fast_time_out_is_a_property_and_shorter_than_kafkas() {
        let default = Numbers::default();
        for (name, ms) in FAST {
            let kafka = default.get(name).unwrap_or_else(|| panic!("no property {name}"));
            assert!(*ms < kafka, "{name}: {ms} is not below {kafka}");
        }
    }

    #[test]
    fn the_fast_time_outs_keep_kafkas_order() {
        let fast = |name: &str| FAST.iter().find(|(known, _)| *known == name).map(|(_, ms)| *ms).unwrap();
        assert!(fast("broker.heartbeat.interval.ms") * 4 <= fast("broker.session.timeout.ms"));
        assert!(fast("replica.fetch.wait.max.ms") < fast("replica.lag.time.max.ms"));
        assert!(fast("controller.quorum.election.timeout.ms") < fast("controller.quorum.fetch.timeout.ms"));
    }

    fn scenario(config: &str) -> Scenario {
        let text = format!(
            r#"schema = 1
name  = "bound"
about = "How long it may take."

[cluster]
brokers = 3
timers  = "fast"
config  = {{ "log.flush.interval.messages" = 1000000{config} }}

[hardware]
link = {{ latency = "1ms", jitter = "0us" }}
disk = {{ fsync = "10ms" }}

[topics.orders]
replicas = 3

[load.writers]
produce = "orders"
rate    = "10/s"

[timeline]
phases = [{{ name = "steady", for = "1s" }}]

[expect]
safety = "all"
"#
        );
        crate::scenario::good(&text)
    }

    const WRITTEN: Written = Written { records: 600, bytes: 120_000, within_ns: 60_000_000_000 };

    /// A term's count and its nanoseconds.
    fn term(config: &str, written: Written, word: &str) -> (u64, u64) {
        let bound = progress_bound(&scenario(config), written);
        let (name, nanos) = bound.terms.iter().find(|(name, _)| name.contains(word)).expect("a term of that name");
        let count = name.split(' ').find_map(|word| word.parse().ok()).expect("a term that counts");
        (count, *nanos)
    }

    #[test]
    fn a_copy_takes_as_many_fetches_and_rolls_as_their_sizes_say_but_no_more_than_one_a_record() {
        let (few, _) = term("", WRITTEN, "fetches");
        assert_eq!(few, 2, "one brings all there is, and one of the partition comes back empty");
        let (some, nanos) = term(r#", "replica.fetch.max.bytes" = 1000"#, WRITTEN, "fetches");
        assert_eq!(some, 241);
        assert!(nanos >= some * 2_000_000, "each takes a round trip: {nanos}");
        assert_eq!(term(r#", "replica.fetch.max.bytes" = 1"#, WRITTEN, "fetches").0, 601);
        assert_eq!(term(r#", "log.segment.bytes" = 2000"#, WRITTEN, "rolls"), (121, 121 * 20_000_000));
    }

    #[test]
    fn what_is_flushed_one_by_one_is_copied_one_sync_after_the_other() {
        assert_eq!(term("", WRITTEN, "flushes").1, 0);
        let mut slow = scenario("");
        slow.cluster.config.insert("log.flush.interval.messages".to_owned(), "1".to_owned());
        let bound = progress_bound(&slow, WRITTEN);
        assert!(bound.terms.contains(&("600 flushes in it".to_owned(), 6_000_000_000)), "{bound:?}");
    }

    #[test]
    fn recovery_is_of_what_was_written_since_the_last_checkpoint() {
        let small = r#", "log.segment.bytes" = 2000, "log.flush.offset.checkpoint.interval.ms" = "#;
        let (all, _) = term(&format!("{small}60000"), WRITTEN, "recovery");
        let (part, _) = term(&format!("{small}1500"), WRITTEN, "recovery");
        assert_eq!((all, part), (121, 13), "a tenth of it, and one segment of each partition");
    }

    #[test]
    fn nothing_written_is_nothing_to_copy() {
        let bound = progress_bound(&scenario(""), Written::default());
        assert!(!bound.terms.iter().any(|(name, _)| name.contains("copy") || name.contains("recovery")), "{bound:?}");
    }
}
