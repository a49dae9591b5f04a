//! Rolling restarts, crashes between two effects, empty disks, twins.

use harness::report::CheckOutcome;

use super::support::{inconclusive, small, with_controllers};

#[test]
fn a_rolling_restart_takes_one_node_after_the_other_and_producers_wait_for_moments_only() {
    let line = r#"at = "storm", roll = ["b1", "b2", "b3"], pause = "500ms", label = "roll""#;
    let run = small(&[line], &["leader_changed(orders/0)", "controller_changed", "isr_expanded(orders/0)"], 8, 1);
    assert_eq!(run.hits("roll"), 3);
    assert!(run.unavailable_ms("roll") < 1_000, "{} ms: no session had to end", run.unavailable_ms("roll"));
    assert_eq!(run.errors("storm"), 0);
    let row = run.0.measured.faults.iter().find(|row| row.span.label == "roll").expect("the fault");
    let storm = run.0.windows.iter().find(|window| window.name == "storm").expect("the phase");
    assert!(row.span.end_ns < storm.end_ns, "it ends when the last one serves again");
}

#[test]
fn a_leader_that_dies_behind_an_append_leaves_a_batch_that_nobody_heard_of() {
    let line = r#"at = "storm", crash_at = "leader(orders/0)", effect = "partition.append", when = "after", nth = 7, restart_after = "2s", label = "crash""#;
    let run = small(&[line], &["leader_changed(orders/0)", "isr_expanded(orders/0)"], 8, 1);
    assert_eq!(run.hits("crash"), 1);
    assert!((500..5_000).contains(&run.unavailable_ms("crash")), "{} ms", run.unavailable_ms("crash"));
    let row = run.0.measured.faults.iter().find(|row| row.span.label == "crash").expect("the fault");
    let storm = run.0.windows.iter().find(|window| window.name == "storm").expect("the phase");
    assert!(row.span.start_ns > storm.start_ns, "it counts from the crash, not from when it was armed");
}

#[test]
fn a_voter_may_die_between_making_its_vote_durable_and_telling_it() {
    let run = small(
        &[
            r#"at = "storm", pause = "controller", for = "3s", label = "pause""#,
            r#"at = "storm", crash_at = "any", effect = "quorum.persist", when = "after", restart_after = "500ms", label = "crash""#,
        ],
        &["controller_changed"],
        10,
        1,
    );
    assert_eq!(run.hits("crash"), 1);
    let elections = run.0.checks.iter().find(|check| check.slug == "one-quorum-leader").expect("it was judged");
    assert!(matches!(elections.outcome, CheckOutcome::Held { .. }), "one vote an epoch: {elections:?}");
}

#[test]
fn an_effect_that_does_not_come_is_called_off_after_its_time_and_makes_the_run_inconclusive() {
    let line = r#"at = "storm", crash_at = "b1", effect = "partition.restart", for = "1s", label = "crash""#;
    let run = inconclusive(&[line], 3, 1);
    assert_eq!(run.hits("crash"), 0);
    assert!(run.0.why.iter().any(|why| why.contains("the fault crash waited for an effect on b1")), "{:?}", run.0.why);
}

#[test]
fn a_wiped_broker_is_out_of_the_isr_and_copies_everything_before_it_is_back() {
    let line = r#"at = "storm", wipe = "follower(orders/0)", restart_after = "3s", label = "wipe""#;
    let run = with_controllers(&[line], &["isr_shrunk(orders/0)", "isr_expanded(orders/0)"], 8, 1);
    assert_eq!(run.hits("wipe"), 1);
    assert_eq!(run.errors("storm"), 0);
    let lost: u64 = run.0.losses.iter().map(|loss| loss.to.abs_diff(loss.from)).sum();
    assert!(lost >= 300, "its copy of {lost} records is gone, and nothing else");
}

#[test]
fn a_twin_of_a_running_broker_is_never_let_in_and_nobody_notices() {
    let line = r#"at = "storm", twin = "leader(orders/0)", for = "5s", label = "twin""#;
    let run = with_controllers(&[line], &["broker_duplicate_refused"], 6, 1);
    assert_eq!(run.hits("twin"), 1);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
    assert!(run.0.crashes.is_empty());
}

#[test]
fn a_twin_of_a_paused_broker_takes_its_id_and_the_original_gives_way_when_it_wakes() {
    let run = with_controllers(
        &[
            r#"at = "storm", pause = "leader(orders/0)", for = "5s", label = "pause""#,
            r#"at = "storm+50ms", twin = "leader(orders/0)", for = "9s", label = "twin""#,
        ],
        &["leader_changed(orders/0)", "broker_duplicate_refused", "broker_registered_again", "broker_superseded"],
        14,
        1,
    );
    assert_eq!((run.hits("pause"), run.hits("twin")), (1, 1));
    assert!(run.0.crashes.is_empty(), "that a process gives its id up is no crash: {:?}", run.0.crashes);
}
