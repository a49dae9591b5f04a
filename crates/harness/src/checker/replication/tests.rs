//! C-ACK1, C-READ-HW, C-HWMONO and C-START find each breach, and accuse nobody where there is none.

use protocol::{LeaderEpoch, Offset};
use runtime::Observation;
use runtime::observation::{ProcessEnd, ReplicaRole};

use crate::checker::tests::{Told, committed, orders};
use crate::checker::{Judgement, Keep, Loss};
use crate::history::SendOutcome;
use protocol::NodeId;

fn held(told: Told, id: &str) -> bool {
    matches!(told.judge(id), Judgement::Held { .. })
}

fn truncated(told: &mut Told, node: i32, from: i64, to: i64) {
    let (from, to) = (Offset(from), Offset(to));
    told.tell(node, Observation::Truncated { partition: orders(), from, to, leader_epoch: LeaderEpoch(2) });
}

// C-READ-HW

#[test]
fn what_lies_below_the_high_watermark_may_be_read() {
    let mut told = committed(Keep::Committed);
    told.served(1, 0, 1, 1);
    assert!(held(told, "C-READ-HW"));
}

#[test]
fn a_fetch_above_the_servers_own_high_watermark_is_found() {
    let mut told = committed(Keep::Committed);
    told.append(1, 1, 1, 0xbb);
    told.served(1, 0, 2, 1);
    let claim = "a consumer was given records above the high watermark of who served it";
    assert_eq!(told.claim("C-READ-HW").as_deref(), Some(claim));
}

#[test]
fn a_follower_that_serves_what_no_leader_has_committed_is_found() {
    let mut told = committed(Keep::Committed);
    told.append(2, 1, 1, 0xbb);
    told.high_watermark(2, ReplicaRole::Follower, 1, 2, &[]);
    told.served(2, 0, 2, 1);
    let claim = "a consumer was given records that no leader has committed";
    assert_eq!(told.claim("C-READ-HW").as_deref(), Some(claim));
}

#[test]
fn a_fetch_of_other_records_than_those_committed_is_found() {
    let mut told = committed(Keep::Committed);
    truncated(&mut told, 2, 1, 0);
    told.append(2, 0, 2, 0xee);
    told.high_watermark(2, ReplicaRole::Follower, 2, 1, &[]);
    told.served(2, 0, 1, 2);
    let claim = "a consumer was given other records than those committed";
    assert_eq!(told.claim("C-READ-HW").as_deref(), Some(claim));
}

#[test]
fn a_record_that_was_read_and_is_gone_is_found_unless_the_budget_allows_its_loss() {
    let read = |keep| {
        let mut told = Told::new(keep);
        told.acknowledged(0, 0);
        told.acknowledged(1, 1);
        told.read(0, 0);
        told.read(1, 1);
        told.read_back(&[0]);
        told.run.losses.push(Loss { node: NodeId(1), partition: orders(), from: Offset(1), to: Offset(2), at_ns: 5 });
        told
    };
    let claim = "a record that a consumer has read is gone";
    assert_eq!(read(Keep::Committed).claim("C-READ-HW").as_deref(), Some(claim));
    assert!(held(read(Keep::Nothing), "C-READ-HW"));
    let mut all = read(Keep::Committed);
    all.read_back(&[0, 1]);
    assert!(held(all, "C-READ-HW"));
}

// C-HWMONO

#[test]
fn ends_that_rise_or_come_from_a_deposed_leader_accuse_nobody() {
    let mut told = committed(Keep::Committed);
    told.latest(5, 1, 10, 11);
    told.latest(7, 2, 12, 13);
    told.latest(6, 1, 14, 15);
    told.latest(7, 2, 16, 17);
    assert!(held(told, "C-HWMONO"));
}

#[test]
fn an_end_that_goes_back_for_one_client_is_found_over_leaders_too() {
    let claim = "the end of a partition went back for clients";
    for (epoch, asked) in [(1, 12), (2, 12), (2, 11)] {
        let mut told = Told::new(Keep::Committed);
        told.latest(5, 1, 10, 11);
        told.latest(4, epoch, asked, 20);
        assert_eq!(told.claim("C-HWMONO").as_deref(), Some(claim), "epoch {epoch}");
    }
    let mut told = Told::new(Keep::Committed);
    told.latest(5, 1, 10, 13);
    told.latest(4, 1, 12, 14);
    assert!(held(told, "C-HWMONO"), "it was asked for before the other answer came");
}

#[test]
fn an_end_below_what_was_acknowledged_or_given_before_is_found() {
    let claim = "the end of a partition went back for clients";
    let mut told = committed(Keep::Committed);
    told.answered(1, 0, 0, -1, 1);
    told.latest(0, 2, 50, 51);
    assert_eq!(told.claim("C-HWMONO").as_deref(), Some(claim));
    let mut told = committed(Keep::Committed);
    told.served(1, 0, 1, 1);
    told.latest(0, 2, 50, 51);
    assert_eq!(told.claim("C-HWMONO").as_deref(), Some(claim));
    let mut told = committed(Keep::Committed);
    told.answered(1, 0, 0, 1, 1);
    told.latest(0, 2, 50, 51);
    assert!(held(told, "C-HWMONO"), "acks=1 says nothing of what is committed");
}

#[test]
fn a_leaders_high_watermark_that_goes_back_in_its_epoch_is_found() {
    let back = |node, role, epoch| {
        let mut told = committed(Keep::Committed);
        told.append(1, 1, 1, 0xbb);
        told.role(2, ReplicaRole::Leader, 2, 1);
        told.high_watermark(node, role, epoch, 0, &[1, 2, 3]);
        told.claim("C-HWMONO")
    };
    let claim = "a leader's high watermark went back within its epoch";
    assert_eq!(back(1, ReplicaRole::Leader, 1).as_deref(), Some(claim));
    assert_eq!(back(3, ReplicaRole::Follower, 1), None, "a follower takes its leader's");
    assert_eq!(back(2, ReplicaRole::Leader, 2), None, "a new leader begins with what it had as follower");
}

// C-ACK1

#[test]
fn a_batch_that_the_log_did_not_have_when_it_was_acknowledged_is_found() {
    let mut told = committed(Keep::Committed);
    told.answered(1, 0, 0, 1, 1);
    assert!(held(told, "C-ACK1"));
    let claim = "a batch was acknowledged with acks=1 that its leader's log did not have";
    for (base, last, epoch) in [(1, 1, 1), (0, 1, 1), (0, 0, 2)] {
        let mut told = committed(Keep::Committed);
        told.answered(1, base, last, 1, epoch);
        assert_eq!(told.claim("C-ACK1").as_deref(), Some(claim));
    }
}

/// Record 1 is appended and acknowledged by node 1 alone, and at the end it is gone; `then` is what happened between.
fn lost_after(then: impl FnOnce(&mut Told)) -> Option<String> {
    let mut told = committed(Keep::Committed);
    told.sent(0, -1, SendOutcome::Ok(Offset(0)));
    told.sent(1, 1, SendOutcome::Ok(Offset(1)));
    told.append(1, 1, 1, 0xbb);
    told.answered(1, 1, 1, 1, 1);
    then(&mut told);
    told.read_back(&[0]);
    told.claim("C-ACK1")
}

#[test]
fn a_record_of_acks_one_goes_with_its_leader_and_not_otherwise() {
    let gone = "a record acknowledged with acks=1 is gone without a reason";
    assert_eq!(lost_after(|_| {}).as_deref(), Some(gone));
    assert_eq!(lost_after(|told| told.role(2, ReplicaRole::Leader, 2, 1)), None);
    let killed = Observation::ProcessEnded { how: ProcessEnd::Killed, why: String::new() };
    assert_eq!(lost_after(|told| told.tell(1, killed.clone())), None);
    assert_eq!(lost_after(|told| told.tell(2, killed)).as_deref(), Some(gone), "another process died");
    let replicated = |told: &mut Told| {
        told.append(2, 1, 1, 0xbb);
        told.high_watermark(1, ReplicaRole::Leader, 1, 2, &[1, 2]);
        told.role(2, ReplicaRole::Leader, 2, 2);
    };
    assert_eq!(lost_after(replicated).as_deref(), Some(gone), "it was committed");
}

// C-START

fn opened(told: &mut Told, start: i64, clean: bool) {
    let (start, end) = (Offset(start), Offset(9));
    told.tell(1, Observation::LogOpened { partition: orders(), start, end, clean });
}

fn moved(told: &mut Told, from: i64, to: i64) {
    told.tell(1, Observation::LogStart { partition: orders(), from: Offset(from), to: Offset(to) });
}

/// Node 1 leads with a high watermark of 5 and a log start of 3.
fn started() -> Told {
    let mut told = Told::new(Keep::Committed);
    opened(&mut told, 0, true);
    told.role(1, ReplicaRole::Follower, 1, 9);
    told.high_watermark(1, ReplicaRole::Follower, 1, 5, &[]);
    moved(&mut told, 0, 3);
    told
}

#[test]
fn a_log_start_that_rises_to_the_high_watermark_accuses_nobody() {
    let mut told = started();
    moved(&mut told, 3, 5);
    assert!(held(told, "C-START"));
}

#[test]
fn a_log_start_above_the_high_watermark_is_found() {
    let mut told = started();
    moved(&mut told, 3, 6);
    assert_eq!(told.claim("C-START").as_deref(), Some("a log start lies above the replica's high watermark"));
}

#[test]
fn a_log_start_that_goes_back_is_found_unless_the_log_begins_anew() {
    let mut told = started();
    moved(&mut told, 3, 2);
    assert_eq!(told.claim("C-START").as_deref(), Some("a log start went back"));
    let mut told = started();
    moved(&mut told, 3, 2);
    told.at_the_same_instant(1, Observation::Truncating { partition: orders(), to: Offset::ZERO });
    assert!(held(told, "C-START"));
    let mut told = started();
    told.tell(1, Observation::Truncating { partition: orders(), to: Offset::ZERO });
    told.at_the_same_instant(1, Observation::LogStart { partition: orders(), from: Offset(3), to: Offset(2) });
    assert!(held(told, "C-START"));
}

#[test]
fn a_log_start_may_be_forgotten_in_an_unclean_stop_only() {
    let restart = |how, start| {
        let mut told = started();
        told.tell(1, Observation::ProcessEnded { how, why: String::new() });
        opened(&mut told, start, how == ProcessEnd::Exited);
        told.claim("C-START")
    };
    assert_eq!(restart(ProcessEnd::Exited, 3), None);
    assert_eq!(restart(ProcessEnd::Killed, 0), None);
    let claim = "a log start went back over a stop in good order";
    assert_eq!(restart(ProcessEnd::Exited, 0).as_deref(), Some(claim));
}

// C-LEADERCOMP

/// Node 2 leads epoch 3 and commits offset 1 with node 3, while node `late` believes in epoch 2.
fn a_later_leader_committed_more(late: i32) -> Told {
    let mut told = committed(Keep::Committed);
    told.role(2, ReplicaRole::Leader, 3, 1);
    told.role(3, ReplicaRole::Follower, 3, 1);
    told.append(2, 1, 3, 0xbb);
    told.append(3, 1, 3, 0xbb);
    told.high_watermark(2, ReplicaRole::Leader, 3, 2, &[2, 3]);
    told.role(late, ReplicaRole::Leader, 2, 1);
    told
}

#[test]
fn a_belated_leader_owes_nothing_that_a_later_one_committed() {
    assert!(held(a_later_leader_committed_more(1), "C-LEADERCOMP"));
}

#[test]
fn a_belated_leader_still_owes_what_was_committed_before_it() {
    let mut told = a_later_leader_committed_more(3);
    truncated(&mut told, 1, 1, 0);
    told.role(1, ReplicaRole::Leader, 2, 0);
    assert_eq!(told.claim("C-LEADERCOMP").as_deref(), Some("a new leader lacks committed records"));
}
