//! Each checker finds a breach that is made for it, and accuses nobody where there is none.

use std::sync::Arc;

use protocol::{LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition};
use runtime::Observation;
use runtime::observation::ReplicaRole;

use super::*;
use crate::history::{Latest, LoadInfo, PartitionRead, Read, Send, SendOutcome, Value};

/// A run that is told event by event.
pub(super) struct Told {
    pub(super) checkers: Vec<Box<dyn Checker>>,
    pub(super) run: RunEnd,
    next: u64,
}

pub(super) fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

impl Told {
    pub(super) fn new(keep: Keep) -> Self {
        let topics = vec![TopicInfo { name: "orders".to_owned(), partitions: 1, replicas: 3, min_isr: 2 }];
        let setup = Setup { topics, keep, ..Setup::default() };
        let mut run = RunEnd { setup: setup.clone(), ended_ns: 100, ..RunEnd::default() };
        run.history.partitions.push(orders());
        for (name, produces) in [("writers", true), ("readers", false)] {
            let (name, topic) = (name.to_owned(), "orders".to_owned());
            run.history.loads.push(LoadInfo {
                name,
                topic,
                produces,
                idempotent: false,
                in_flight: u32::from(produces),
            });
        }
        Self { checkers: all(&setup), run, next: 1 }
    }

    pub(super) fn tell(&mut self, node: i32, what: Observation) {
        let id = self.next;
        self.next += 1;
        let event = Stamped { id, at_ns: id, host: Arc::from(format!("b{node}")), node: NodeId(node), cause: 0, what };
        self.checkers.iter_mut().for_each(|checker| checker.observe(&event));
    }

    /// The next event happens when the last one did.
    pub(super) fn at_the_same_instant(&mut self, node: i32, what: Observation) {
        let (id, at_ns) = (self.next, self.next - 1);
        self.next += 1;
        let event = Stamped { id, at_ns, host: Arc::from(format!("b{node}")), node: NodeId(node), cause: 0, what };
        self.checkers.iter_mut().for_each(|checker| checker.observe(&event));
    }

    pub(super) fn role(&mut self, node: i32, role: ReplicaRole, epoch: i32, end: i64) {
        self.tell(
            node,
            Observation::ReplicaRole {
                partition: orders(),
                role,
                leader_epoch: LeaderEpoch(epoch),
                log_end_offset: Offset(end),
                high_watermark: Offset(0),
                epoch_start: Offset(end),
            },
        );
    }

    pub(super) fn append(&mut self, node: i32, offset: i64, epoch: i32, crc: u32) {
        let (base, last) = (Offset(offset), Offset(offset));
        let leader_epoch = LeaderEpoch(epoch);
        self.tell(node, Observation::Appended { partition: orders(), base, last, leader_epoch, crc, producer: None });
    }

    pub(super) fn high_watermark(&mut self, node: i32, role: ReplicaRole, epoch: i32, to: i64, isr: &[i32]) {
        let isr: Vec<NodeId> = isr.iter().copied().map(NodeId).collect();
        self.tell(
            node,
            Observation::HighWatermark {
                partition: orders(),
                role,
                leader_epoch: LeaderEpoch(epoch),
                from: Offset(0),
                to: Offset(to),
                maximal_isr: isr.clone(),
                committed_isr: isr,
                min_isr: 2,
            },
        );
    }

    pub(super) fn acknowledged(&mut self, id: u64, offset: i64) {
        self.sent(id, -1, SendOutcome::Ok(Offset(offset)));
    }

    pub(super) fn sent(&mut self, id: u64, acks: i16, outcome: SendOutcome) {
        self.run.history.sends.push(Send {
            id,
            load: 0,
            client: 0,
            partition: orders(),
            intended_ns: 1,
            sent_ns: 1,
            done_ns: 1_000,
            acks,
            size: 10,
            outcome,
        });
    }

    pub(super) fn read(&mut self, offset: i64, id: u64) {
        let value = Value::Of(id);
        self.run.history.reads.push(Read { load: 1, client: 0, partition: 0, offset: Offset(offset), value, at_ns: 9 });
    }

    pub(super) fn read_back(&mut self, values: &[u64]) {
        let records = values.iter().enumerate().map(|(at, id)| (Offset(at as i64), Value::Of(*id))).collect();
        let end = Offset(values.len() as i64);
        let read = PartitionRead { start: Offset::ZERO, end, records, incomplete: None };
        self.run.read_back.partitions.insert(orders(), read);
    }

    /// A leader answers a produce request.
    pub(super) fn answered(&mut self, node: i32, base: i64, last: i64, acks: i16, epoch: i32) {
        let (base, last, leader_epoch) = (Offset(base), Offset(last), LeaderEpoch(epoch));
        self.tell(node, Observation::Acknowledged { partition: orders(), base, last, acks, leader_epoch });
    }

    /// A consumer is given a range.
    pub(super) fn served(&mut self, node: i32, from: i64, to: i64, epoch: i32) {
        let (from, to, leader_epoch) = (Offset(from), Offset(to), LeaderEpoch(epoch));
        self.tell(node, Observation::Served { partition: orders(), from, to, leader_epoch });
    }

    /// A client is told the end.
    pub(super) fn latest(&mut self, offset: i64, epoch: i32, asked_ns: u64, at_ns: u64) {
        let (offset, leader_epoch) = (Offset(offset), LeaderEpoch(epoch));
        self.run.history.latest.push(Latest { partition: 0, offset, leader_epoch, asked_ns, at_ns });
    }

    /// The claim of the checker `id`, if it found a breach.
    pub(super) fn claim(self, id: &str) -> Option<String> {
        match self.judge(id) {
            Judgement::Violated(violation) => Some(violation.claim),
            _ => None,
        }
    }

    /// The judgement of the checker `id`.
    pub(super) fn judge(mut self, id: &str) -> Judgement {
        let findings = judge(&mut self.checkers, &self.run);
        findings.into_iter().find(|finding| finding.id == id).expect("a checker of this id").judgement
    }
}

pub(super) fn violated(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Violated(_))
}

/// One leader, two followers, one batch everywhere and committed.
pub(super) fn committed(keep: Keep) -> Told {
    let mut told = Told::new(keep);
    told.role(1, ReplicaRole::Leader, 1, 0);
    told.role(2, ReplicaRole::Follower, 1, 0);
    told.role(3, ReplicaRole::Follower, 1, 0);
    for node in [1, 2, 3] {
        told.append(node, 0, 1, 0xaa);
    }
    told.high_watermark(1, ReplicaRole::Leader, 1, 1, &[1, 2, 3]);
    told
}

#[test]
fn a_run_in_which_nothing_happened_is_no_pass() {
    for (id, _) in NAMES.iter().filter(|(id, _)| *id != "C-LIVE") {
        let judgement = Told::new(Keep::Committed).judge(id);
        assert!(matches!(judgement, Judgement::NothingToJudge { .. }), "{id}: {judgement:?}");
    }
}

#[test]
fn a_record_that_was_acknowledged_and_is_gone_breaks_c_ack() {
    let mut told = Told::new(Keep::Committed);
    told.acknowledged(0, 0);
    told.acknowledged(1, 1);
    told.read_back(&[0]);
    assert!(violated(&told.judge("C-ACK")));
}

#[test]
fn a_loss_that_the_budget_allows_is_forgiven_and_only_there() {
    let lossy = |keep, offset| {
        let mut told = Told::new(keep);
        told.acknowledged(0, 0);
        told.acknowledged(1, offset);
        told.read_back(&[0]);
        let (node, partition) = (NodeId(1), orders());
        told.run.losses.push(Loss { node, partition, from: Offset(1), to: Offset(2), at_ns: 5 });
        told.judge("C-ACK")
    };
    assert!(!violated(&lossy(Keep::Nothing, 1)));
    assert!(violated(&lossy(Keep::Nothing, 2)));
    assert!(violated(&lossy(Keep::Committed, 1)));
}

#[test]
fn two_records_at_one_offset_break_c_off() {
    let mut told = Told::new(Keep::Committed);
    told.acknowledged(0, 0);
    told.acknowledged(1, 1);
    told.read(0, 0);
    told.read(0, 1);
    assert!(violated(&told.judge("C-OFF")));
}

#[test]
fn two_records_acknowledged_with_acks_one_may_have_had_one_offset() {
    let mut told = Told::new(Keep::Committed);
    told.sent(0, 1, SendOutcome::Ok(Offset(0)));
    told.sent(1, 1, SendOutcome::Ok(Offset(0)));
    told.read(0, 1);
    assert!(!violated(&told.judge("C-OFF")));
}

#[test]
fn a_consumer_that_skips_or_repeats_breaks_c_cont() {
    for offsets in [[0, 2], [1, 0], [1, 1]] {
        let mut told = Told::new(Keep::Committed);
        told.read(offsets[0], 0);
        told.read(offsets[1], 0);
        assert!(violated(&told.judge("C-CONT")), "{offsets:?}");
    }
}

#[test]
fn a_record_whose_send_failed_for_certain_breaks_c_phantom() {
    let mut told = Told::new(Keep::Committed);
    told.acknowledged(0, 0);
    told.run.history.sends[0].outcome = SendOutcome::Failed(19);
    told.read(0, 0);
    assert!(violated(&told.judge("C-PHANTOM")));
}

#[test]
fn a_clean_run_of_three_replicas_is_judged_and_holds() {
    for id in ["C-HWSAFE", "C-LOGMATCH", "C-LEADERCOMP"] {
        let mut told = committed(Keep::Committed);
        told.high_watermark(2, ReplicaRole::Follower, 1, 1, &[]);
        told.role(2, ReplicaRole::Leader, 2, 1);
        let judgement = told.judge(id);
        assert!(matches!(judgement, Judgement::Held { .. }), "{id}: {judgement:?}");
    }
}

#[test]
fn a_high_watermark_above_a_members_log_end_breaks_c_hwsafe() {
    let mut told = committed(Keep::Committed);
    told.append(1, 1, 1, 0xbb);
    told.append(2, 1, 1, 0xbb);
    told.high_watermark(1, ReplicaRole::Leader, 1, 2, &[1, 2, 3]);
    assert!(violated(&told.judge("C-HWSAFE")));
}

#[test]
fn a_member_that_only_the_controller_knows_counts_for_c_hwsafe() {
    let mut told = committed(Keep::Committed);
    let isr: Vec<NodeId> = [1, 2, 3].map(NodeId).into();
    told.tell(
        1,
        Observation::PartitionCommitted {
            partition: orders(),
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            isr: isr.clone(),
            replicas: isr,
            offset: Offset(5),
        },
    );
    told.append(1, 1, 1, 0xbb);
    told.append(2, 1, 1, 0xbb);
    told.high_watermark(1, ReplicaRole::Leader, 1, 2, &[1, 2]);
    assert!(violated(&told.judge("C-HWSAFE")));
}

#[test]
fn a_replica_that_comes_into_the_isr_without_what_is_committed_breaks_c_hwsafe() {
    let join = |offset| {
        let mut told = committed(Keep::Committed);
        for (partition_epoch, isr) in [(1, vec![1, 2]), (2, vec![1, 2, 3])] {
            if partition_epoch == 2 {
                for node in [1, 2] {
                    told.append(node, 1, 1, 0xbb);
                }
                told.high_watermark(1, ReplicaRole::Leader, 1, 2, &[1, 2]);
                if offset == 2 {
                    told.append(3, 1, 1, 0xbb);
                }
            }
            told.tell(
                1,
                Observation::PartitionCommitted {
                    partition: orders(),
                    leader: NodeId(1),
                    leader_epoch: LeaderEpoch(1),
                    partition_epoch: PartitionEpoch(partition_epoch),
                    isr: isr.into_iter().map(NodeId).collect(),
                    replicas: [1, 2, 3].map(NodeId).into(),
                    offset: Offset(partition_epoch.into()),
                },
            );
        }
        told.claim("C-HWSAFE")
    };
    assert_eq!(join(2), None);
    assert_eq!(join(1).as_deref(), Some("a replica came into the ISR without all that is committed"));
}

#[test]
fn equal_offset_and_epoch_with_other_bytes_breaks_c_logmatch() {
    let mut told = committed(Keep::Committed);
    told.append(1, 1, 1, 0xbb);
    told.append(2, 1, 1, 0xcc);
    assert!(violated(&told.judge("C-LOGMATCH")));
}

#[test]
fn a_follower_that_kept_another_epochs_record_breaks_c_logmatch() {
    let mut told = committed(Keep::Committed);
    told.append(3, 1, 1, 0xdd);
    told.role(2, ReplicaRole::Leader, 2, 1);
    for node in [1, 2] {
        told.append(node, 1, 2, 0xee);
    }
    told.high_watermark(2, ReplicaRole::Leader, 2, 2, &[1, 2]);
    told.high_watermark(3, ReplicaRole::Follower, 2, 2, &[]);
    assert!(violated(&told.judge("C-LOGMATCH")));
}

#[test]
fn a_leader_without_a_committed_record_breaks_c_leadercomp() {
    let mut told = committed(Keep::Committed);
    told.tell(
        2,
        Observation::Truncated { partition: orders(), from: Offset(1), to: Offset(0), leader_epoch: LeaderEpoch(1) },
    );
    told.role(2, ReplicaRole::Leader, 2, 0);
    assert!(violated(&told.judge("C-LEADERCOMP")));
}

/// The controller commits a state of the partition at the next instant.
fn commit(told: &mut Told, leader: i32, partition_epoch: i32, isr: &[i32]) {
    let what = Observation::PartitionCommitted {
        partition: orders(),
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(leader),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: isr.iter().copied().map(NodeId).collect(),
        replicas: [1, 2, 3].map(NodeId).into(),
        offset: Offset(partition_epoch.into()),
    };
    told.tell(1, what);
}

#[test]
fn another_leader_of_a_partition_that_is_well_is_no_breach_of_c_live_and_a_full_isr_that_comes_late_is_one() {
    // Healed at 0; the bound is 1.
    let judged = |states: &[(i32, &[i32])]| {
        let mut told = Told::new(Keep::Committed);
        told.run.progress_bound_ns = 1;
        told.read_back(&[]);
        for (epoch, (leader, isr)) in states.iter().enumerate() {
            commit(&mut told, *leader, epoch as i32, isr);
        }
        told.judge("C-LIVE")
    };
    assert!(!violated(&judged(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])])));
    assert!(violated(&judged(&[(1, &[1, 2]), (2, &[1, 2, 3])])));
    // A break in between counts, however well it was before.
    assert!(violated(&judged(&[(1, &[1, 2, 3]), (2, &[2, 3]), (2, &[1, 2, 3])])));
    assert!(violated(&judged(&[(1, &[1, 2, 3]), (1, &[1, 2])])));
}

#[test]
fn a_partition_without_leader_after_the_bound_breaks_c_live() {
    let mut told = Told::new(Keep::Committed);
    told.read_back(&[]);
    assert!(violated(&told.judge("C-LIVE")));
    let mut early = Told::new(Keep::Committed);
    early.run.progress_bound_ns = 1_000;
    assert!(matches!(early.judge("C-LIVE"), Judgement::NothingToJudge { .. }));
}

#[test]
fn what_a_topic_must_keep_may_not_lie_below_the_log_start() {
    let second = 1_000_000_000;
    let judge = |kept: Option<Kept>, ended_ns: u64, more: u64| {
        let mut told = Told::new(Keep::Committed);
        told.run.setup.kept.extend(kept.map(|kept| ("orders".to_owned(), kept)));
        told.run.ended_ns = ended_ns;
        for id in 0..=more {
            told.acknowledged(id, id.cast_signed());
        }
        let records = (1..=more).map(|id| (Offset(id.cast_signed()), Value::Of(id))).collect();
        let end = Offset(more.cast_signed() + 1);
        let read = PartitionRead { start: Offset(1), end, records, incomplete: None };
        told.run.read_back.partitions.insert(orders(), read);
        told.claim("C-ACK")
    };
    let early = Some("an acknowledged record was deleted though its topic had to keep it");
    let ms = |ms| Some(Kept { ms: Some(ms), bytes: None });
    let bytes = |bytes| Some(Kept { ms: None, bytes: Some(bytes) });
    assert_eq!(judge(None, 100 * second, 3).as_deref(), early, "seven days have not passed");
    assert_eq!(judge(ms(4_000), 3 * second, 3).as_deref(), early);
    assert_eq!(judge(ms(4_000), 5 * second, 3), None);
    assert_eq!(judge(bytes(10_000), second, 3).as_deref(), early, "three records are not so many bytes");
    assert_eq!(judge(bytes(500), second, 3), None);
}
