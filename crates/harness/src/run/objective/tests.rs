//! Objectives over a run made by hand: 1,000 sends a second for 20 s, an outage of one partition from 10 s to 12 s.

use super::*;
use crate::measure::{Input, measure};

const S: u64 = 1_000_000_000;

fn scenario(slo: &[&str], allow: &str) -> Scenario {
    let slo: Vec<String> = slo.iter().map(|line| format!("\"{line}\"")).collect();
    let text = format!(
        r#"schema = 1
name  = "objectives"
about = "Judged."

[cluster]
brokers = 3
timers  = "fast"

[topics.orders]
partitions = 2
replicas   = 3

[load.writers]
produce = "orders"
rate    = "1k/s"

[load.readers]
consume = "orders"

[timeline]
phases = [{{ name = "steady", for = "10s" }}, {{ name = "failover", for = "10s" }}]
faults = [{{ at = "failover", kill = "b1", restart_after = "1s", label = "kill-leader" }}]

[expect]
safety = "all"
slo    = [{}]
{allow}
"#,
        slo.join(", ")
    );
    crate::scenario::good(&text)
}

/// What happened around the outage, as far as it matters to who is to blame.
#[derive(Clone, Copy)]
struct Events<'a> {
    kind: &'a str,
    controller_lost: bool,
    elections: &'a [u64],
    candidacies: &'a [u64],
}

const KILL: Events<'_> = Events { kind: "kill", controller_lost: false, elections: &[], candidacies: &[] };

fn judge(scenario: &Scenario, outage: std::ops::Range<u64>, events: Events<'_>, safe: bool) -> (Vec<SloRow>, Bound) {
    let history = crate::measure::tests::history(outage);
    let window = |name: &str, start_ns, end_ns| Window { name: name.into(), start_ns, end_ns, measured: true };
    let windows = [window("steady", 0, 10 * S), window("failover", 10 * S, 20 * S)];
    let faults = [FaultSpan {
        hits: 1,
        label: "kill-leader".into(),
        kind: events.kind.into(),
        what: events.kind.into(),
        start_ns: 10 * S,
        end_ns: 11 * S,
        hosts: vec!["b1".into()],
        partitions: 1,
    }];
    let input = Input { history: &history, windows: &windows, faults: &faults, gauges: &[], end_ns: 20 * S };
    let measured = measure(&input);
    let grounds = Grounds {
        scenario,
        history: &history,
        measured: &measured,
        windows: &windows,
        faults: &faults,
        controller_lost: &[events.controller_lost],
        elections: events.elections,
        candidacies: events.candidacies,
        end_ns: 20 * S,
    };
    (grounds.judge(safe), grounds.bound())
}

fn verdicts(slo: &[&str]) -> Vec<SloVerdict> {
    judge(&scenario(slo, ""), 10 * S..12 * S, KILL, true).0.iter().map(|row| row.verdict).collect()
}

#[test]
fn an_objective_is_met_or_missed_by_the_number_of_its_phase() {
    use SloVerdict::{Met, Missed};
    assert_eq!(
        verdicts(&[
            "produce.p99 in steady <= 3ms",
            "produce.p99 in failover <= 3ms",
            "produce.max in failover <= 3s",
            "unavailable(orders) in steady <= 100ms",
            "unavailable(orders) in failover <= 1s",
            "unavailable(orders) in failover <= 3s",
        ]),
        [Met, Missed, Met, Met, Missed, Met]
    );
}

#[test]
fn a_share_of_another_phase_is_a_share_of_what_was_measured_there() {
    let scenario = scenario(&["throughput in failover >= 98% of steady", "produce.p50 in failover <= 1ms"], "");
    let (rows, _) = judge(&scenario, 10 * S..12 * S, KILL, true);
    assert_eq!(rows[0].verdict, SloVerdict::Met, "{rows:?}");
    let limit = rows[0].limit_raw.expect("steady has a rate");
    assert!((960.0..=990.0).contains(&limit), "98 % of about 1,000/s: {limit}");
    assert_eq!(rows[1].verdict, SloVerdict::Missed);
    assert!(rows[1].margin.expect("a limit above 0") < 0.0);
}

#[test]
fn without_samples_nothing_is_met_and_without_safety_nothing_is_judged() {
    // Nothing is as it was before the fault, up to the end of the run: there is no time after which it was.
    let (rows, _) = judge(&scenario(&["recover after kill-leader <= 1h"], ""), 10 * S..20 * S, KILL, true);
    assert_eq!((rows[0].verdict, rows[0].why.as_deref()), (SloVerdict::NoSamples, Some("no samples")));
    let (rows, _) = judge(&scenario(&["produce.p99 in steady <= 1ns"], ""), 0..0, KILL, false);
    assert_eq!(rows[0].verdict, SloVerdict::NotJudged);
    assert_eq!(rows[0].why.as_deref(), Some("not judged: safety failed"));
}

#[test]
fn a_miss_that_the_scenario_allows_is_told_and_allowed() {
    let allow = r#"allow = [{ what = "slo", why = "the disk is slow" }]"#;
    let (rows, _) = judge(&scenario(&["produce.max in failover <= 3ms"], allow), 10 * S..12 * S, KILL, true);
    assert_eq!(rows[0].verdict, SloVerdict::Allowed);
}

#[test]
fn the_bound_has_the_terms_of_an_election_only_if_the_controller_was_lost() {
    let scenario = scenario(&["unavailable(orders) in failover <= bound"], "");
    let (_, without) = judge(&scenario, 10 * S..12 * S, KILL, true);
    let (_, with) = judge(&scenario, 10 * S..12 * S, Events { controller_lost: true, ..KILL }, true);
    let quorum: Vec<_> = with.terms.iter().filter(|term| !without.terms.contains(term)).collect();
    assert_eq!(quorum.len(), 2, "{quorum:?}");
    assert!(quorum.iter().all(|(name, nanos)| name.contains("fetch time-out") && *nanos > 0), "{quorum:?}");
    assert_eq!(with.total_ns, with.terms.iter().map(|(_, nanos)| nanos).sum::<u64>());
}

#[test]
fn an_overrun_is_called_split_votes_or_tcp_only_if_there_were_some_and_a_bug_otherwise() {
    let scenario = scenario(&["unavailable(orders) in failover <= bound"], "");
    let class = |events: Events<'_>| {
        // Longer than any bound of these time-outs.
        let (rows, bound) = judge(&scenario, 10 * S..19 * S, events, true);
        assert!(bound.total_ns < 9 * S, "{bound:?}");
        assert_eq!(rows[0].verdict, SloVerdict::Missed);
        rows[0].why.clone().expect("it says why")
    };
    assert!(class(KILL).starts_with("class: bug"));
    assert!(class(Events { kind: "cut", ..KILL }).starts_with("class: TCP back-off"));
    let candidacies: Vec<u64> = (0..=timers::ROUNDS + 1).map(|round| 11 * S + round).collect();
    let split = Events { candidacies: &candidacies, elections: &[12 * S], ..KILL };
    assert!(class(split).starts_with("class: split votes"));
    // As many as the bound allows for, or at another time, explain nothing.
    assert!(class(Events { candidacies: &candidacies[1..], ..split }).starts_with("class: bug"));
    let early: Vec<u64> = candidacies.iter().map(|at| at - 5 * S).collect();
    assert!(class(Events { candidacies: &early, ..split }).starts_with("class: bug"));
}
