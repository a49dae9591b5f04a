//! Faults of clocks.

use super::support::{small, with_config};

#[test]
fn a_leader_whose_clock_is_hours_behind_refuses_records_from_the_future() {
    let fault = r#"at = "storm", clock_offset = "leader(orders/0)", by = "-2h", for = "2s""#;
    let run = small(&[fault], &[], 3, 1);
    assert!(run.hits("clock_offset") > 0);
    // message.timestamp.after.max.ms is an hour: INVALID_TIMESTAMP, which no retry heals.
    assert!((150..=201).contains(&run.errors("storm")), "{}", run.errors("storm"));
    assert_eq!(run.errors("after"), 0, "the clock is right again");
    let patient = r#", "log.message.timestamp.after.max.ms" = 86400000"#;
    let run = with_config(patient, &[fault], &[], 3, 1);
    assert_eq!(run.errors("storm"), 0, "who takes timestamps of the next day does not mind");
}

#[test]
fn a_leader_whose_clock_is_ahead_serves_on() {
    let fault = r#"at = "storm", clock_offset = "leader(orders/0)", by = "2h", for = "2s""#;
    let run = small(&[fault], &[], 3, 2);
    assert!(run.hits("clock_offset") > 0);
    assert_eq!(run.errors("storm"), 0);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
}

#[test]
fn a_jump_is_for_good() {
    let fault = r#"at = "storm", clock_jump = "leader(orders/0)", by = "-2h""#;
    let run = small(&[fault, r#"at = "after", clock_jump = "leader(orders/0)", by = "2h", label = "back""#], &[], 3, 3);
    assert_eq!((run.hits("clock_jump"), run.hits("back")), (1, 1));
    assert!(run.errors("storm") > 250, "{}", run.errors("storm"));
    assert!(run.errors("after") < 5, "{}", run.errors("after"));
}

#[test]
fn a_frozen_wall_clock_stops_no_timer_of_a_broker() {
    let run = small(&[r#"at = "storm", clock_freeze = ["b1", "b2", "b3"], for = "4s""#], &[], 5, 4);
    assert!(run.hits("clock_freeze") > 0);
    assert_eq!(run.errors("storm"), 0);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
}

#[test]
fn a_follower_whose_clock_all_but_stops_misses_its_heartbeats_and_is_fenced() {
    let fault = r#"at = "storm", clock_drift = "follower(orders/0)", ppm = -900000, for = "5s""#;
    let run = small(&[fault], &["fenced", "isr_shrunk(orders/0)", "isr_expanded(orders/0)"], 8, 5);
    assert!(run.hits("clock_drift") > 0);
    assert!(run.reached("fenced") > 0);
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn a_drift_of_a_percent_is_felt_by_nobody() {
    let faults = [
        r#"at = "storm", clock_drift = "b1", ppm = 10000, for = "4s", label = "fast""#,
        r#"at = "storm", clock_drift = "b2", ppm = -10000, for = "4s", label = "slow""#,
    ];
    let run = small(&faults, &[], 5, 6);
    assert!(run.hits("fast") > 0 && run.hits("slow") > 0);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
}
