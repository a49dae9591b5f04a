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

/// How long after everything is healed the cluster may take to be whole: an election, a fresh session of every broker (a new
/// incarnation is refused until the old session ends), and followers that catch up.
pub fn progress_bound(scenario: &Scenario) -> Bound {
    let mut bound = bound(scenario, true);
    let clients = client_timers(scenario.cluster.timers);
    let more = [
        ("old session of a new incarnation", ms(scenario, "broker.session.timeout.ms")),
        ("replica lag", ms(scenario, "replica.lag.time.max.ms")),
        ("replica request time-out", ms(scenario, "replica.socket.timeout.ms")),
        ("connection set-up", clients.connect * 1_000_000),
    ];
    bound.terms.extend(more.map(|(name, nanos)| (name.to_owned(), nanos)));
    bound.total_ns = bound.terms.iter().map(|(_, nanos)| nanos).sum();
    bound
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
}
