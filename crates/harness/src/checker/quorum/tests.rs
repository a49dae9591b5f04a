//! Each checker of the quorum finds a breach made for it, and accuses nobody where there is none.

use std::sync::Arc;

use protocol::{Chunks, LeaderEpoch, NodeId, Offset};
use runtime::Observation;
use runtime::observation::QuorumRole;

use crate::checker::{Checker, HostDisk, Judgement, NodeInfo, RunEnd, Setup};
use crate::event::Stamped;

/// A quorum of the voters 1, 2 and 3 that is told event by event.
struct Told {
    checkers: Vec<Box<dyn Checker>>,
    run: RunEnd,
    next: u64,
}

impl Told {
    fn new() -> Self {
        let node = |id| NodeInfo { host: Arc::from(format!("c{id}")), id: NodeId(id), broker: false, controller: true };
        let setup = Setup { nodes: (1..=3).map(node).collect(), ..Setup::default() };
        Self { checkers: super::checkers(&setup), run: RunEnd { setup, ..RunEnd::default() }, next: 1 }
    }

    fn tell(&mut self, node: i32, what: Observation) -> &mut Self {
        let id = self.next;
        self.next += 1;
        let event = Stamped { id, at_ns: id, host: Arc::from(format!("c{node}")), node: NodeId(node), cause: 0, what };
        self.checkers.iter_mut().for_each(|checker| checker.observe(&event));
        self
    }

    fn state(&mut self, node: i32, role: QuorumRole, epoch: i32, leader: i32, voted: i32) -> &mut Self {
        let (leader, voted) = (NodeId(leader), NodeId(voted));
        self.tell(node, Observation::QuorumState { role, epoch: LeaderEpoch(epoch), leader, voted })
    }

    fn append(&mut self, node: i32, base: i64, last: i64, epoch: i32, crc: u32) -> &mut Self {
        let (base, last) = (Offset(base), Offset(last));
        self.tell(node, Observation::QuorumAppended { base, last, epoch: LeaderEpoch(epoch), crc })
    }

    fn flush(&mut self, node: i32, end: i64) -> &mut Self {
        self.tell(node, Observation::QuorumFlushed { end: Offset(end) })
    }

    fn high_watermark(&mut self, node: i32, offset: i64) -> &mut Self {
        self.tell(node, Observation::QuorumHighWatermark { offset: Offset(offset) })
    }

    /// One leads, 1 and 2 have offsets 0..4 on their disks.
    fn committed() -> Self {
        let mut told = Self::new();
        told.state(1, QuorumRole::Leader, 1, 1, -1);
        for node in [1, 2] {
            told.append(node, 0, 0, 1, 10).append(node, 1, 4, 1, 11).flush(node, 5);
        }
        told.high_watermark(1, 5);
        told
    }

    /// The claim of each checker that was violated.
    fn verdicts(&mut self) -> Vec<(&'static str, String)> {
        let judge = |checker: &mut Box<dyn Checker>| match checker.finish(&self.run) {
            Judgement::Violated(violation) => Some((checker.id(), violation.claim)),
            _ => None,
        };
        self.checkers.iter_mut().filter_map(judge).collect()
    }
}

#[test]
fn a_sound_quorum_is_judged_and_held() {
    let mut told = Told::committed();
    told.high_watermark(2, 5);
    for checker in &mut told.checkers {
        let judgement = checker.finish(&told.run);
        assert!(matches!(judgement, Judgement::Held { judged } if judged > 0), "{}: {judgement:?}", checker.id());
    }
}

#[test]
fn nothing_seen_is_nothing_judged() {
    let mut told = Told::new();
    for checker in &mut told.checkers {
        assert!(matches!(checker.finish(&told.run), Judgement::NothingToJudge { .. }), "{}", checker.id());
    }
}

#[test]
fn two_leaders_of_one_epoch_are_found() {
    let mut told = Told::new();
    told.state(1, QuorumRole::Leader, 3, 1, -1).state(2, QuorumRole::Leader, 3, 2, -1);
    assert_eq!(told.verdicts(), [("C-RAFT-ELECT", "two nodes lead one epoch of the quorum".to_owned())]);
}

#[test]
fn a_vote_that_changes_and_one_that_is_forgotten_are_found() {
    let mut told = Told::new();
    told.state(3, QuorumRole::Unattached, 3, -1, 1).state(3, QuorumRole::Unattached, 3, -1, 2);
    assert_eq!(told.verdicts(), [("C-RAFT-ELECT", "a node voted twice in one epoch".to_owned())]);
    let mut told = Told::new();
    told.state(3, QuorumRole::Unattached, 3, -1, 1).state(3, QuorumRole::Unattached, 3, -1, -1);
    assert_eq!(told.verdicts(), [("C-RAFT-ELECT", "a vote was forgotten".to_owned())]);
}

#[test]
fn a_vote_that_its_disk_lost_may_be_forgotten_and_no_other() {
    let story = |path: &str| {
        let mut told = Told::new();
        told.state(3, QuorumRole::Unattached, 3, -1, 1);
        let damage = vec![world::Damage { path: path.to_owned(), from: 0, to: u64::MAX, word: "fsync_lie" }];
        let disk = HostDisk { host: Arc::from("c3"), node: NodeId(3), files: Default::default(), damage };
        told.checkers.iter_mut().for_each(|checker| checker.before_start(&disk));
        told.state(3, QuorumRole::Unattached, 2, -1, -1);
        told.verdicts()
    };
    assert_eq!(story("d/__cluster_metadata-0/quorum-state"), []);
    let back = ("C-RAFT-ELECT", "a node's quorum epoch went back".to_owned());
    assert_eq!(story("d/orders-0/00000000000000000000.log"), [back]);
}

#[test]
fn a_winners_own_vote_may_go() {
    let mut told = Told::new();
    told.state(1, QuorumRole::Candidate, 3, -1, 1).state(1, QuorumRole::Leader, 3, 1, -1);
    assert_eq!(told.verdicts(), []);
}

#[test]
fn an_epoch_that_goes_back_is_found() {
    let mut told = Told::new();
    told.state(1, QuorumRole::Follower, 3, 2, -1).state(1, QuorumRole::Unattached, 2, -1, -1);
    assert_eq!(told.verdicts(), [("C-RAFT-ELECT", "a node's quorum epoch went back".to_owned())]);
}

#[test]
fn a_restarted_leader_that_writes_an_offset_again_in_its_epoch_is_found() {
    let mut told = Told::new();
    told.append(1, 0, 0, 1, 10).append(1, 1, 1, 1, 11);
    told.tell(1, Observation::QuorumOpened { end: Offset(1) }).append(1, 1, 3, 1, 12);
    let claim = "one offset and epoch of the metadata log holds two batches";
    assert_eq!(told.verdicts(), [("C-RAFT-MATCH", claim.to_owned())]);
}

#[test]
fn a_later_epoch_may_replace_what_was_not_committed() {
    let mut told = Told::committed();
    told.append(1, 5, 9, 1, 20);
    told.tell(1, Observation::QuorumTruncated { end: Offset(5) }).append(1, 5, 5, 2, 21);
    assert_eq!(told.verdicts(), []);
}

#[test]
fn logs_that_differ_below_both_high_watermarks_are_found() {
    let mut told = Told::committed();
    told.append(3, 0, 0, 1, 10).append(3, 1, 4, 2, 99).flush(3, 5).high_watermark(3, 5);
    let claims: Vec<String> = told.verdicts().into_iter().map(|(_, claim)| claim).collect();
    assert_eq!(claims, ["two logs of the quorum differ below both high watermarks"]);
}

#[test]
fn a_commit_that_one_disk_alone_has_is_found() {
    let mut told = Told::new();
    told.append(1, 0, 0, 1, 10).append(2, 0, 0, 1, 10).flush(1, 1).high_watermark(1, 1);
    assert_eq!(
        told.verdicts(),
        [("C-RAFT-DUR", "a committed metadata record is not durable on a majority".to_owned())]
    );
}

#[test]
fn a_commit_that_a_majority_loses_is_found() {
    let mut told = Told::committed();
    told.tell(2, Observation::QuorumOpened { end: Offset(1) });
    assert_eq!(
        told.verdicts(),
        [("C-RAFT-DUR", "a committed metadata record is not durable on a majority".to_owned())]
    );
}

#[test]
fn a_high_watermark_above_a_majoritys_logs_is_found() {
    let mut told = Told::committed();
    told.append(1, 5, 9, 1, 20).flush(1, 10).high_watermark(1, 10);
    let ids: Vec<&str> = told.verdicts().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["C-RAFT-HW", "C-RAFT-DUR"]);
}

#[test]
fn a_high_watermark_that_counts_an_older_epochs_batch_is_found() {
    let mut told = Told::committed();
    for node in [1, 2] {
        told.append(node, 5, 5, 1, 20).flush(node, 6);
    }
    told.state(2, QuorumRole::Leader, 2, 2, -1).high_watermark(2, 6);
    let claim = "the quorum's leader committed a record of an older epoch by counting";
    assert_eq!(told.verdicts(), [("C-RAFT-HW", claim.to_owned())]);
    for node in [1, 2] {
        told.append(node, 6, 6, 2, 21).flush(node, 7);
    }
    told.high_watermark(2, 7);
    assert_eq!(told.verdicts(), [], "with a batch of its own epoch the older one is committed too");
}

#[test]
fn a_leaders_high_watermark_that_goes_back_is_found() {
    let mut told = Told::committed();
    told.high_watermark(1, 1);
    assert_eq!(told.verdicts(), [("C-RAFT-HW", "the quorum leader's high watermark went back".to_owned())]);
}

/// The bytes of a batch with no records that anybody reads.
fn bytes(base: i64, count: i32, epoch: i32) -> (Vec<u8>, u32) {
    let mut body = vec![0, 0];
    body.extend((count - 1).to_be_bytes());
    body.extend([7; 30]);
    let crc = crc32c::crc32c(&body);
    let mut out = base.to_be_bytes().to_vec();
    out.extend((body.len() as i32 + 9).to_be_bytes());
    out.extend(epoch.to_be_bytes());
    out.push(2);
    out.extend(crc.to_be_bytes());
    out.extend(body);
    (out, crc)
}

#[test]
fn a_commit_that_is_missing_from_the_disks_at_the_end_is_found() {
    let (batch, crc) = bytes(0, 3, 1);
    let disk = |node: i32, content: &[u8]| HostDisk {
        host: Arc::from(format!("c{node}")),
        node: NodeId(node),
        files: [("d/__cluster_metadata-0/00000000000000000000.log".to_owned(), Chunks::from(content.to_vec()))].into(),
        damage: Vec::new(),
    };
    let run = |disks: Vec<HostDisk>| {
        let mut told = Told::new();
        for node in [1, 2] {
            told.append(node, 0, 2, 1, crc).flush(node, 3);
        }
        told.high_watermark(1, 3);
        told.run.disks = disks;
        told.verdicts()
    };
    assert_eq!(run(vec![disk(1, &batch), disk(2, &batch), disk(3, &[])]), []);
    let torn = &batch[..batch.len() - 1];
    let claim = "a committed metadata record is missing from the disks at the end";
    assert_eq!(run(vec![disk(1, &batch), disk(2, torn), disk(3, &[])]), [("C-RAFT-DUR", claim.to_owned())]);
}
