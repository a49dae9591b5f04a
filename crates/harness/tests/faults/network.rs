//! Faults of links and connections.

use super::support::small;

const ALL: &str = "b1 | {b2, b3}";

#[test]
fn lost_flights_cost_a_retransmission_time_out_and_no_record() {
    let run = small(&[r#"at = "storm", loss = "b1 | {b2, b3}", share = "5%", for = "4s""#], &[], 5, 1);
    assert!(run.hits("loss") > 10, "{}", run.hits("loss"));
    assert!(run.slowest_ms("calm") < 100, "{} ms", run.slowest_ms("calm"));
    assert!(
        run.slowest_ms("storm") >= 200,
        "{} ms: no acknowledgement waited for a retransmission",
        run.slowest_ms("storm")
    );
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn delayed_messages_delay_acknowledgements_by_as_much() {
    let fault = format!(r#"at = "storm", delay_messages = "{ALL}", share = "1%", by = "400ms", for = "4s""#);
    let run = small(&[&fault], &[], 5, 2);
    assert!(run.hits("delay_messages") > 0);
    assert!(run.slowest_ms("storm") >= 400, "{} ms", run.slowest_ms("storm"));
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn a_flapping_link_stops_acknowledgements_while_it_is_cut_and_not_for_good() {
    let fault = r#"at = "storm", flap = "leader(orders/0) | follower(orders/0)", every = "700ms", for = "5s""#;
    let run = small(&[fault], &[], 6, 3);
    assert!(run.hits("flap") > 5, "{}", run.hits("flap"));
    assert!(run.slowest_ms("storm") >= 500, "{} ms", run.slowest_ms("storm"));
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
}

#[test]
fn reset_connections_are_made_anew_and_what_was_under_way_is_sent_again() {
    let faults = [
        r#"at = "storm", reset_connections = "leader(orders/0)", label = "host""#,
        r#"at = "storm+1s", reset_connections = "b1 | {b2, b3}", label = "link""#,
        // Some of these find a record on its way.
        r#"at = "storm+1501ms", reset_connections = "leader(orders/0)", label = "3""#,
        r#"at = "storm+1703ms", reset_connections = "leader(orders/0)", label = "4""#,
        r#"at = "storm+1905ms", reset_connections = "leader(orders/0)", label = "5""#,
    ];
    let run = small(&faults, &["producer_retried"], 3, 4);
    assert!(run.hits("host") >= 3 && run.hits("link") >= 2, "{} {}", run.hits("host"), run.hits("link"));
    assert!(run.slowest_ms("storm") < 2_000, "{} ms", run.slowest_ms("storm"));
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn a_leader_that_refuses_connections_serves_whom_it_knows_and_nobody_else() {
    let refuse = r#"at = "storm", refuse_connections = "leader(orders/0)", for = "3s", label = "refuse""#;
    let reset = r#"at = "storm+1s", reset_connections = "leader(orders/0)", label = "reset""#;
    let alone = small(&[refuse], &[], 4, 5);
    assert!(alone.slowest_ms("storm") < 100, "{} ms", alone.slowest_ms("storm"));
    let both = small(&[refuse, reset], &["producer_retried"], 4, 5);
    assert!(both.hits("refuse") > 0, "nobody tried to connect");
    // From the reset to the end of the refusal nobody gets in.
    assert!(both.unavailable_ms("reset") >= 1_900, "{} ms", both.unavailable_ms("reset"));
}

#[test]
fn a_swizzled_cluster_loses_its_quorum_and_finds_it_again() {
    let run = small(
        &[r#"at = "storm", swizzle = ["b1", "b2", "b3"], for = "8s""#],
        &["quorum_check_quorum", "controller_changed"],
        12,
        6,
    );
    assert!(run.hits("swizzle") > 0);
    assert!(run.unavailable_ms("swizzle") >= 1_000, "{} ms", run.unavailable_ms("swizzle"));
}

#[test]
fn a_leader_that_hangs_keeps_its_partition_and_serves_nobody() {
    let run = small(&[r#"at = "storm", hang = "leader(orders/0)", for = "4s""#], &[], 6, 7);
    assert!(run.hits("hang") > 0);
    assert!(run.unavailable_ms("hang") >= 3_500, "{} ms", run.unavailable_ms("hang"));
    let leaders =
        small(&[r#"at = "storm", pause = "leader(orders/0)", for = "4s""#], &["leader_changed(orders/0)"], 6, 7);
    assert!(
        leaders.unavailable_ms("pause") < run.unavailable_ms("hang"),
        "a paused leader is deposed, one that hangs is not: {} ms, {} ms",
        leaders.unavailable_ms("pause"),
        run.unavailable_ms("hang")
    );
}
