//! Faults of disks.

use super::support::with_synced_logs as disks;

#[test]
fn a_leader_whose_disk_stands_still_acknowledges_nothing_and_then_everything() {
    let run = disks("committed", &[r#"at = "storm", stall_disk = "leader(orders/0)", for = "2s""#], &[], 4, 1);
    assert!(run.hits("stall_disk") > 0);
    assert!(run.slowest_ms("storm") >= 1_900, "{} ms", run.slowest_ms("storm"));
    assert_eq!(run.errors("storm"), 0);
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
}

#[test]
fn a_controller_whose_disk_stands_still_loses_its_place_and_nobody_waits() {
    let stall = r#"at = "storm", stall_disk = "controller", for = "6s""#;
    let run = disks("committed", &[stall], &["controller_changed", "quorum_disk_stalled"], 8, 2);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
}

#[test]
fn a_broker_that_cannot_read_its_log_says_so_and_starts_when_it_can() {
    let faults = [
        r#"at = "storm", kill = "follower(orders/0)", restart_after = "500ms", label = "kill""#,
        r#"at = "storm", read_error = "b1", share = "100%", for = "2s", restart_after = "3s", label = "b1""#,
        r#"at = "storm", read_error = "b2", share = "100%", for = "2s", restart_after = "3s", label = "b2""#,
        r#"at = "storm", read_error = "b3", share = "100%", for = "2s", restart_after = "3s", label = "b3""#,
    ];
    let run = disks("committed", &faults, &["isr_shrunk(orders)", "isr_expanded(orders)"], 8, 3);
    assert_eq!(run.hits("b1") + run.hits("b2") + run.hits("b3"), 1, "only who starts reads; it stops at once");
    let stops = &run.0.stops;
    assert_eq!(stops.len(), 1, "{stops:?}");
    assert!(stops[0].message.contains("os error 5"), "{stops:?}");
}

#[test]
fn a_failed_write_stops_the_broker_which_names_the_file_and_another_leads() {
    let fault = r#"at = "storm", write_error = "leader(orders/0)", nth = 1, restart_after = "4s""#;
    let run = disks("committed", &[fault], &["leader_changed(orders/0)", "log_broken", "isr_expanded(orders)"], 8, 4);
    assert_eq!(run.hits("write_error"), 1);
    assert!(run.slowest_ms("storm") >= 1_000, "{} ms: who died was missed by nobody", run.slowest_ms("storm"));
    assert_eq!(run.errors("storm"), 0);
    let stops = &run.0.stops;
    assert_eq!(stops.len(), 1, "{stops:?}");
    let said = "failed to append to orders-0/00000000000000000000.log";
    assert!(stops[0].message.contains(said) && stops[0].message.contains("os error 5"), "{stops:?}");
}

#[test]
fn a_failed_sync_stops_the_broker_and_nothing_it_covered_is_called_durable() {
    let faults = [
        r#"at = "storm", fsync_error = "leader(orders/0)", nth = 4, restart_after = "4s""#,
        r#"at = "storm+6s", power_off = "b1", lose = "unsynced", restart_after = "500ms", label = "b1""#,
    ];
    let run = disks("committed", &faults, &["leader_changed(orders/0)", "log_broken"], 10, 5);
    assert_eq!(run.hits("fsync_error"), 1);
    assert_eq!(run.0.stops.len(), 1, "{:?}", run.0.stops);
    assert!(run.0.stops[0].message.contains("failed to sync orders-0/"), "{:?}", run.0.stops);
}

#[test]
fn a_lying_disk_loses_at_a_power_loss_what_it_called_durable_and_the_others_have_it() {
    let faults = [
        r#"at = "storm", fsync_lie = "follower(orders/0)", for = "5s", label = "lie""#,
        r#"at = "storm", fsync_lie = "leader(orders/0)", for = "5s", label = "lie-2""#,
        r#"at = "storm+2s", power_off = "follower(orders/0)", lose = "unsynced", restart_after = "500ms", label = "off""#,
        r#"at = "storm+4s", power_off = "leader(orders/0)", lose = "unsynced", restart_after = "500ms", label = "off-2""#,
    ];
    let run = disks("nothing", &faults, &["isr_expanded(orders)"], 8, 6);
    assert!(run.hits("lie") + run.hits("lie-2") > 5);
    let lost: i64 = run.0.losses.iter().map(|loss| loss.to - loss.from).sum();
    assert!(lost > 20, "{lost}: more than one sync's worth");
}

#[test]
fn a_full_disk_refuses_appends_and_takes_them_again_when_there_is_room() {
    let fault = r#"at = "storm", disk_full = "leader(orders/0)", after = "1KiB", for = "2s""#;
    let run = disks("committed", &[fault], &["log_full"], 5, 7);
    assert!(run.hits("disk_full") > 0);
    assert!(run.slowest_ms("storm") >= 1_500, "{} ms", run.slowest_ms("storm"));
    assert_eq!(run.errors("storm"), 0);
    assert!(run.0.stops.is_empty() && run.0.crashes.is_empty(), "nobody stops for lack of space");
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
}

#[test]
fn a_follower_with_a_full_disk_leaves_the_isr_and_comes_back() {
    let fault = r#"at = "storm", disk_full = "follower(orders/0)", for = "5s""#;
    let run = disks("committed", &[fault], &["isr_shrunk(orders)", "isr_expanded(orders)", "log_full"], 10, 8);
    assert!(run.hits("disk_full") < 1_000, "{}: it rests between two tries", run.hits("disk_full"));
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn a_controller_with_a_full_disk_steps_down_and_comes_back() {
    let fault = r#"at = "storm", disk_full = "controller", for = "5s""#;
    let run = disks("committed", &[fault], &["controller_changed", "quorum_disk_full"], 8, 9);
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
    assert!(run.0.stops.is_empty() && run.0.crashes.is_empty());
}

#[test]
fn a_process_that_is_asked_to_stop_while_its_disk_is_full_stops_and_is_back() {
    let faults =
        [r#"at = "storm", disk_full = "c1", for = "5s""#, r#"at = "storm+2s", stop = "c1", restart_after = "4s""#];
    let run = disks("committed", &faults, &["quorum_disk_full", "quorum_stopped_full"], 10, 15);
    assert!(run.0.stops.is_empty() && run.0.crashes.is_empty(), "{:?} {:?}", run.0.stops, run.0.crashes);
    assert!(run.slowest_ms("after") < 100, "{} ms", run.slowest_ms("after"));
}

#[test]
fn short_writes_are_finished_and_nobody_notices() {
    let on =
        |host: &str| format!(r#"at = "storm", short_write = "{host}", share = "100%", for = "3s", label = "{host}""#);
    let faults = ["b1", "b2", "b3", "c1", "c2", "c3"].map(on);
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let run = disks("committed", &faults, &["log_short_write"], 4, 10);
    for host in ["b1", "b2", "b3"] {
        assert!(run.hits(host) > 100, "{host}: {}", run.hits(host));
    }
    assert!(run.slowest_ms("storm") < 100, "{} ms", run.slowest_ms("storm"));
}

#[test]
fn names_that_were_not_synced_are_gone_after_a_power_loss_and_the_broker_starts() {
    let faults = [
        r#"at = "storm", slow_disk = "b1", fsync = "3s", for = "9s""#,
        r#"at = "storm", lost_rename = "b1", for = "9s""#,
        r#"at = "storm+6s", power_off = "b1", lose = "nothing", restart_after = "500ms""#,
    ];
    let run = disks("committed", &faults, &["isr_shrunk(orders)", "isr_expanded(orders)"], 14, 11);
    assert!(run.hits("lost_rename") > 0, "a checkpoint is being replaced at any time");
}

#[test]
fn rotten_sectors_of_a_log_are_cut_at_a_start_and_copied_again() {
    let faults = [
        r#"at = "storm", kill = "b1", restart_after = "1s""#,
        r#"at = "storm+500ms", bit_rot = "b1", files = "orders-*/*.log", share = "20%""#,
    ];
    let run = disks("nothing", &faults, &["log_torn_tail_cut", "isr_expanded(orders)"], 8, 12);
    assert!(run.hits("bit_rot") > 5, "{}", run.hits("bit_rot"));
    assert_eq!(run.errors("storm"), 0);
}

#[test]
fn a_sector_gone_astray_is_found_at_a_start() {
    let faults = [
        r#"at = "storm", misdirected_write = "follower(orders/0)", share = "10%", for = "2s", label = "astray""#,
        r#"at = "storm+2s", kill = "b1", restart_after = "500ms", label = "b1""#,
        r#"at = "storm+5s", kill = "b2", restart_after = "500ms", label = "b2""#,
        r#"at = "storm+8s", kill = "b3", restart_after = "500ms", label = "b3""#,
    ];
    let run = disks("nothing", &faults, &["isr_expanded(orders)"], 12, 13);
    assert!(run.hits("astray") > 5, "{}", run.hits("astray"));
}

#[test]
fn a_tail_of_zeros_is_cut_at_a_start() {
    let faults = [
        r#"at = "storm", zero_tail = "b1", for = "4s""#,
        r#"at = "storm+1s", power_off = "b1", lose = "unsynced", restart_after = "500ms""#,
    ];
    let run = disks("committed", &faults, &["log_torn_tail_cut", "isr_expanded(orders)"], 8, 14);
    assert!(run.hits("zero_tail") > 0);
}
