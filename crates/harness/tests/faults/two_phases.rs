//! The end of a run in two phases: a core that suffices is healed while everybody else is frozen, then everything.

use std::collections::BTreeSet;

use harness::report::{CheckOutcome, RunResult, Verdict};

use super::support::core_first;

/// What was in the way of progress, as the report says: (phase, class, allowed).
fn stuck(result: &RunResult) -> BTreeSet<(&str, &str, bool)> {
    result.stuck.iter().map(|row| (row.phase.as_str(), row.class.as_str(), row.allowed)).collect()
}

fn progress(result: &RunResult) -> &CheckOutcome {
    &result.checks.iter().find(|check| check.slug == "progress").expect("it is one of all").outcome
}

#[test]
fn two_of_three_are_a_core_that_is_well_while_the_third_is_frozen_in_one_way_or_another() {
    let mut ways = BTreeSet::new();
    for seed in 1..=6 {
        let run = core_first("", 2, "", &[], seed);
        assert_eq!(run.0.verdict, Verdict::Pass, "seed {seed}: {:?}", run.0.why);
        let core = run.0.core.as_ref().expect("a core was healed first");
        assert_eq!((core.hosts.len(), core.rest.len()), (2, 1), "seed {seed}: {core:?}");
        let (frozen, how) = &core.rest[0];
        assert!(!core.hosts.contains(frozen));
        ways.insert(how.clone());
        let took = core.took_ns.expect("it got well");
        assert!(took <= core.bound.total_ns, "seed {seed}: {took} of {:?}", core.bound);
        assert_eq!(core.bound.total_ns, core.bound.terms.iter().map(|(_, nanos)| nanos).sum::<u64>());
        assert!(matches!(progress(&run.0), CheckOutcome::Held { .. }), "seed {seed}: {:?}", progress(&run.0));
        assert!(run.0.stuck.is_empty(), "seed {seed}: {:?}", run.0.stuck);
    }
    assert!(ways.len() > 1, "six seeds freeze in one way only: {ways:?}");
}

#[test]
fn a_core_with_all_replicas_has_the_disk_replaced_whose_bytes_changed_and_gets_well() {
    // Three in sync are asked for, so the core needs b3, whose log cannot be opened any more.
    let rot = r#"at = "storm", bit_rot = "b3", files = "orders-*/*.log", share = "100%", label = "rot""#;
    for seed in 1..=3 {
        let run = core_first("controllers = 1", 3, "", &[rot], seed);
        let core = run.0.core.as_ref().expect("a core was healed first");
        assert_eq!(core.hosts, ["b1", "b2", "b3", "c1"]);
        assert!(core.took_ns.is_some(), "seed {seed}: {:?}", run.0.stuck);
        assert_eq!(core.replaced, ["b3"], "seed {seed}");
        assert!(matches!(progress(&run.0), CheckOutcome::Held { .. }), "seed {seed}: {:?}", progress(&run.0));
    }
}

#[test]
fn a_core_that_the_controller_does_not_count_in_is_caught_and_called_a_bug() {
    // Planted: b3 tells the controllers that it lives every minute only, and its sessions end. No time-out explains it.
    let cluster = r#"config_b3 = { "broker.heartbeat.interval.ms" = 60000 }"#;
    let mut caught = 0;
    for seed in 1..=6 {
        let run = core_first(cluster, 2, "", &[], seed);
        let core = run.0.core.as_ref().expect("a core was healed first");
        if core.hosts.iter().any(|host| host == "b3") {
            caught += 1;
            assert_eq!(core.took_ns, None, "seed {seed}: {core:?}");
            assert_eq!(run.0.verdict, Verdict::Safety, "seed {seed}");
            assert!(matches!(progress(&run.0), CheckOutcome::Violated(_)), "seed {seed}: {:?}", progress(&run.0));
            assert!(stuck(&run.0).contains(&("core", "bug", false)), "seed {seed}: {:?}", run.0.stuck);
        } else {
            assert!(core.took_ns.is_some(), "seed {seed}: without b3 it is well: {:?}", run.0.stuck);
        }
    }
    assert!(caught > 0, "no seed had b3 in its core");
}

#[test]
fn where_losses_are_legal_a_quorum_whose_only_vote_is_rotten_is_stuck_for_that_reason_and_owes_nothing() {
    // Planted: everything on the disk of the one controller rots, and nobody else remembers what was committed.
    let rot = r#"at = "storm", bit_rot = "c1", files = "*", share = "100%", restart_after = "500ms", label = "rot""#;
    let kill = r#"at = "storm+1s", kill = "c1", restart_after = "500ms", label = "kill""#;
    let allow = r#"allow = [{ what = "quorum-loss", why = "the only voter is killed" }]"#;
    let nothing = format!("keep = \"nothing\"\n{allow}");
    let mut caught = 0;
    for seed in 1..=6 {
        let run = core_first("controllers = 1", 2, &nothing, &[rot, kill], seed);
        let core = run.0.core.as_ref().expect("a core was healed first");
        // A bit more or less in a number is still a vote.
        let unreadable = run.0.stops.iter().any(|stop| stop.host == "c1");
        assert_eq!(core.took_ns.is_none(), unreadable, "seed {seed}: {core:?} {:?}", run.0.stops);
        if !unreadable {
            continue;
        }
        caught += 1;
        assert!(core.replaced.is_empty(), "seed {seed}: with an empty disk it would lead what it has forgotten");
        assert!(stuck(&run.0).contains(&("core", "rotten data", true)), "seed {seed}: {:?}", run.0.stuck);
        assert!(run.0.stuck.iter().all(|row| row.allowed), "seed {seed}: {:?}", run.0.stuck);
        // Where something must be kept, the same is no excuse.
        let run = core_first("controllers = 1", 2, allow, &[rot, kill], seed);
        assert!(stuck(&run.0).contains(&("core", "rotten data", false)), "seed {seed}: {:?}", run.0.stuck);
        assert!(matches!(progress(&run.0), CheckOutcome::Violated(_)), "seed {seed}: {:?}", progress(&run.0));
    }
    assert!(caught > 0, "no seed made the vote unreadable");
}

#[test]
fn a_fault_that_goes_on_is_the_freeze_of_whoever_is_not_of_the_core_and_is_healed_in_it() {
    let isolate = r#"at = "storm", isolate = "b3", for = "10m", label = "isolate""#;
    let (mut in_core, mut outside) = (0, 0);
    for seed in 1..=6 {
        let run = core_first("", 2, "", &[isolate], seed);
        let core = run.0.core.as_ref().expect("a core was healed first");
        assert!(core.took_ns.is_some(), "seed {seed}: {:?}", run.0.stuck);
        match core.rest.iter().find(|(host, _)| host == "b3") {
            Some((_, how)) => {
                outside += 1;
                assert_eq!(how, "isolate", "seed {seed}");
            }
            None => in_core += 1,
        }
        let fault = run.0.measured.faults.iter().find(|row| row.span.label == "isolate").expect("it began");
        assert!(fault.span.end_ns >= core.healed_ns, "seed {seed}: it ends with the core's healing or later");
    }
    assert!(in_core > 0 && outside > 0, "b3 is always or never of the core");
}

#[test]
fn who_is_down_stays_down_until_its_turn_and_is_back_at_the_end() {
    let kill = r#"at = "storm", kill = "b3", label = "kill""#;
    for seed in 1..=4 {
        let run = core_first("", 2, "", &[kill], seed);
        let core = run.0.core.as_ref().expect("a core was healed first");
        if let Some((_, how)) = core.rest.iter().find(|(host, _)| host == "b3") {
            assert_eq!(how, "down", "seed {seed}");
        }
        assert!(matches!(progress(&run.0), CheckOutcome::Held { .. }), "seed {seed}: {:?}", progress(&run.0));
    }
}
