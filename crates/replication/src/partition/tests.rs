//! Claims about one replica, told as stories of a leader (node 1) with followers 2 and 3, or of follower 2.

mod deletion;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::LeaderEpochCache;
use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, Monotonic, NodeId, Now, Offset, PartitionEpoch, Timestamp};

use super::*;

const LAG: Duration = Duration::from_millis(100);

struct Story {
    now: Monotonic,
    partition: Partition,
    out: Effects,
}

impl Story {
    /// Node `id`, which has `records` records of epoch 0 below a high watermark, is told that node 1 leads in epoch 1.
    fn new(id: i32, min_isr: usize, records: i64, high_watermark: i64) -> Self {
        let mut epochs = LeaderEpochCache::new();
        if records > 0 {
            epochs.assign(LeaderEpoch(0), Offset(0));
        }
        let log = LogFacts {
            log_start_offset: Offset(0),
            log_end_offset: Offset(records),
            high_watermark: Offset(high_watermark),
            epochs,
        };
        let config = PartitionConfig { min_insync_replicas: min_isr, lag_time_max: LAG };
        let brokers = Arc::new((1..=3).map(|id| (NodeId(id), broker(id))).collect());
        let mut story =
            Self { now: Monotonic(1), partition: Partition::new(NodeId(id), config, brokers, log), out: Vec::new() };
        story.metadata(1, 1, 1, &[1, 2, 3]);
        if id == 1 {
            assert!(!story.partition.view().serving, "nothing is served before the epoch is durable");
            story.step(Event::EpochAssigned { epoch: LeaderEpoch(1) });
            assert!(story.partition.view().serving);
        }
        story.out.clear();
        story
    }

    fn step(&mut self, event: Event) -> &mut Self {
        let now = Now { mono: self.now, wall: Timestamp(0) };
        self.partition.step(now, event, &mut self.out);
        self.partition.check_invariants();
        self
    }

    fn metadata(&mut self, leader: i32, leader_epoch: i32, partition_epoch: i32, isr: &[i32]) -> &mut Self {
        self.step(Event::Metadata(PartitionState {
            leader: NodeId(leader),
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            isr: isr.iter().map(|id| NodeId(*id)).collect(),
            replicas: (1..=3).map(NodeId).collect(),
        }))
    }

    fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now = self.now + duration;
        if self.partition.deadline().is_some_and(|at| at <= self.now) {
            self.step(Event::Tick);
        }
        self
    }

    /// Appends one record with acks=all; the token is its offset.
    fn produce(&mut self) -> &mut Self {
        let end = self.view().next_offset;
        self.step(Event::Produce { token: Token(end.0 as u64), acks: -1, records: 1 });
        self.step(Event::Appended { end: end.plus(1) })
    }

    fn repeat(&mut self, token: u64, acks: i16, next: i64) -> &mut Self {
        self.step(Event::Repeat { token: Token(token), acks, next: Offset(next) })
    }

    fn fired(&mut self) -> Vec<(u64, Fired)> {
        let fired = |effect| match effect {
            Effect::Fire { token, why } => Some((token.0, why)),
            _ => None,
        };
        std::mem::take(&mut self.out).into_iter().filter_map(fired).collect()
    }

    fn fetch(&mut self, replica: i32, offset: i64) -> &mut Self {
        self.step(Event::FollowerFetch(FollowerFetch {
            replica: NodeId(replica),
            broker_epoch: broker(replica).epoch,
            offset: Offset(offset),
            log_start_offset: Offset(0),
        }))
    }

    fn fetched(
        &mut self,
        offset: i64,
        high_watermark: i64,
        diverging: Option<(i32, i64)>,
        batches: &[(i64, i64, i32)],
    ) {
        let batch = |(base, last, epoch): &(i64, i64, i32)| BatchFacts {
            base: Offset(*base),
            last: Offset(*last),
            leader_epoch: LeaderEpoch(*epoch),
        };
        let diverging = diverging.map(|(epoch, end)| Diverging { epoch: LeaderEpoch(epoch), end: Offset(end) });
        self.step(Event::Fetched(Fetched {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(1),
            high_watermark: Offset(high_watermark),
            log_start_offset: Offset(0),
            diverging,
            batches: batches.iter().map(batch).collect(),
        }));
    }

    fn view(&self) -> View {
        self.partition.view()
    }

    fn isr(&self) -> (Vec<i32>, Vec<i32>) {
        let ids = |isr: &[NodeId]| isr.iter().map(|id| id.0).collect();
        (ids(&self.view().isr), ids(&self.view().maximal_isr))
    }

    fn took(&mut self) -> Effects {
        std::mem::take(&mut self.out)
    }
}

fn broker(id: i32) -> BrokerState {
    BrokerState { epoch: BrokerEpoch(i64::from(id)), fenced: false, shutting_down: false }
}

fn fired(token: u64, why: Fired) -> Effect {
    Effect::Fire { token: Token(token), why }
}

#[test]
fn an_acknowledgement_waits_for_every_in_sync_replica() {
    let mut story = Story::new(1, 2, 0, 0);
    story.fetch(2, 0).fetch(3, 0).produce();
    story.took();
    story.fetch(2, 1);
    assert_eq!(story.took(), []);
    story.fetch(3, 1);
    assert_eq!(story.took(), [fired(0, Fired::Reached)]);
    assert_eq!(story.view().high_watermark, Offset(1));
}

#[test]
fn a_new_leader_waits_for_followers_that_it_has_not_heard_of() {
    let mut story = Story::new(1, 1, 5, 2);
    assert_eq!(story.view().high_watermark, Offset(2));
    story.fetch(2, 5);
    assert_eq!(story.view().high_watermark, Offset(2), "3 is in sync and unknown");
    story.fetch(3, 5);
    assert_eq!(story.view().high_watermark, Offset(5));
}

#[test]
fn leader_does_not_advance_high_watermark_below_min_isr() {
    let mut story = Story::new(1, 2, 0, 0);
    story.fetch(2, 0).fetch(3, 0).produce().fetch(2, 1).fetch(3, 1);
    story.metadata(1, 1, 2, &[1]).step(Event::Produce { token: Token(8), acks: 1, records: 1 });
    story.step(Event::Appended { end: Offset(2) }).wait(LAG * 2);
    assert_eq!(story.view().high_watermark, Offset(1));
    story.took();
    story.step(Event::Produce { token: Token(9), acks: -1, records: 1 });
    assert_eq!(story.took(), [Effect::Refuse { token: Token(9), error: ErrorCode::NotEnoughReplicas }]);
}

#[test]
fn a_replica_on_its_way_into_the_isr_counts_until_the_outcome_is_known() {
    let mut story = Story::new(1, 1, 0, 0);
    story.metadata(1, 1, 2, &[1, 2]).fetch(2, 0).fetch(3, 0);
    let asked = story.took();
    assert!(matches!(&asked[..], [Effect::AlterPartition(alter)] if alter.isr.len() == 3), "{asked:?}");
    assert_eq!(story.isr(), (vec![1, 2], vec![1, 2, 3]));
    story.wait(LAG * 2).produce().fetch(2, 1);
    assert_eq!(story.view().high_watermark, Offset(0), "3 may be elected any time now");

    // No answer says nothing; the request goes out again.
    story.took();
    let asked = |answer| Event::Altered { leader_epoch: LeaderEpoch(1), partition_epoch: PartitionEpoch(2), answer };
    story.step(asked(AlterAnswer::Unknown)).wait(Duration::from_millis(50));
    assert!(matches!(&story.took()[..], [Effect::AlterPartition(_)]));
    assert_eq!(story.view().high_watermark, Offset(0));

    story.step(asked(AlterAnswer::NotDone));
    assert_eq!(story.isr(), (vec![1, 2], vec![1, 2]));
    assert_eq!(story.view().high_watermark, Offset(1));
}

#[test]
fn a_replica_about_to_join_holds_the_high_watermark_back() {
    let mut story = Story::new(1, 1, 0, 0);
    story.metadata(1, 1, 2, &[1, 2]).fetch(2, 0).fetch(3, 0);
    let refused = AlterAnswer::NotDone;
    story.step(Event::Altered { leader_epoch: LeaderEpoch(1), partition_epoch: PartitionEpoch(2), answer: refused });
    story.produce().fetch(2, 1);
    assert_eq!(story.view().high_watermark, Offset(0), "3 is caught up though not in the ISR");
    story.wait(LAG * 2).fetch(2, 1).produce().fetch(2, 2);
    assert_eq!(story.view().high_watermark, Offset(2), "3 lags");
}

#[test]
fn laggards_leave_the_isr_together_and_count_until_they_have_left() {
    let mut story = Story::new(1, 1, 0, 0);
    story.fetch(2, 0).fetch(3, 0).produce();
    story.took();
    story.wait(LAG / 2).fetch(2, 1).wait(LAG / 2).wait(LAG / 2).fetch(2, 1);
    let asked = story.took();
    let Some(Effect::AlterPartition(alter)) = asked.last() else { panic!("no shrink: {asked:?}") };
    assert_eq!(alter.isr, [(NodeId(1), BrokerEpoch::NONE), (NodeId(2), BrokerEpoch(2))]);
    assert_eq!(story.isr(), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(story.view().high_watermark, Offset(0));
    let answer = AlterAnswer::Committed {
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(2),
        isr: vec![NodeId(1), NodeId(2)],
    };
    story.step(Event::Altered { leader_epoch: LeaderEpoch(1), partition_epoch: PartitionEpoch(1), answer });
    assert_eq!(story.took(), [fired(0, Fired::Reached)]);
}

#[test]
fn nobody_joins_the_isr_below_the_start_of_the_epoch() {
    let mut story = Story::new(1, 1, 5, 2);
    story.metadata(1, 1, 2, &[1, 2]).fetch(2, 5);
    story.took();
    story.fetch(3, 4);
    assert_eq!(story.took(), [], "KAFKA-7128: 4 is above this leader's high watermark, not above the true one");
    story.fetch(3, 5);
    assert!(matches!(&story.took()[..], [Effect::AlterPartition(_), ..]));
}

#[test]
fn a_fenced_or_replaced_broker_does_not_join_the_isr() {
    let mut story = Story::new(1, 1, 0, 0);
    let mut brokers: Brokers = (1..=3).map(|id| (NodeId(id), broker(id))).collect();
    brokers.get_mut(&NodeId(3)).unwrap().fenced = true;
    story.metadata(1, 1, 2, &[1, 2]).step(Event::Brokers(Arc::new(brokers.clone()))).fetch(3, 0);
    assert_eq!(story.isr().1, [1, 2]);
    brokers.insert(NodeId(3), BrokerState { epoch: BrokerEpoch(30), ..broker(3) });
    story.step(Event::Brokers(Arc::new(brokers))).fetch(3, 0);
    assert_eq!(story.isr().1, [1, 2], "KIP-903: the fetch was of the incarnation before");
    let from = FetchFrom {
        replica: NodeId(3),
        broker_epoch: BrokerEpoch(3),
        current_leader_epoch: LeaderEpoch(1),
        last_fetched_epoch: LeaderEpoch::NONE,
        offset: Offset(0),
        leader_only: true,
    };
    assert_eq!(story.partition.plan_fetch(&from, true), Err(ErrorCode::NotLeaderOrFollower));
}

#[test]
fn a_leader_that_becomes_follower_ends_all_that_waits() {
    let mut story = Story::new(1, 1, 0, 0);
    story.produce();
    story.step(Event::Produce { token: Token(7), acks: 1, records: 1 });
    story.step(Event::Watch { token: Token(8), kind: WatchKind::HighWatermark, offset: Offset(1) });
    story.took();
    story.metadata(2, 2, 2, &[1, 2, 3]);
    let expected = [fired(7, Fired::NotLeader), fired(0, Fired::NotLeader), fired(8, Fired::Changed)];
    assert_eq!(story.took(), expected);
    assert_eq!(story.view().fetch, None, "an append is under way");
    story.step(Event::Appended { end: Offset(2) });
    assert_eq!(story.view().fetch.map(|position| position.offset), Some(Offset(2)));
}

#[test]
fn a_leader_begins_its_epoch_behind_what_it_still_appends_as_follower() {
    let mut story = Story::new(2, 1, 5, 5);
    story.fetched(5, 5, None, &[(5, 6, 1)]);
    story.metadata(2, 2, 2, &[2, 3]);
    assert_eq!(story.took().len(), 1, "the append only");
    story.step(Event::Appended { end: Offset(7) });
    assert_eq!(story.took(), [Effect::AssignEpoch { epoch: LeaderEpoch(2), start: Offset(7) }]);
}

#[test]
fn a_new_follower_keeps_what_lies_above_its_high_watermark() {
    let story = Story::new(2, 1, 5, 2);
    let position = story.view().fetch.expect("ready");
    assert_eq!((position.offset, position.last_fetched_epoch), (Offset(5), LeaderEpoch(0)));
}

#[test]
fn a_diverging_answer_moves_the_log_only() {
    let mut story = Story::new(2, 1, 5, 2);
    story.fetched(5, 4, Some((0, 3)), &[]);
    assert_eq!(story.took(), [Effect::Truncate { to: Offset(3) }]);
    assert_eq!(story.view().high_watermark, Offset(2), "KAFKA-14704");
    assert_eq!(story.view().fetch, None, "the log is busy");
    story.step(Event::Truncated { end: Offset(3) });
    assert_eq!(story.view().fetch.map(|position| position.offset), Some(Offset(3)));
}

#[test]
fn an_answer_to_another_question_is_ignored() {
    let mut story = Story::new(2, 1, 5, 2);
    story.fetched(4, 5, Some((0, 1)), &[]);
    assert_eq!(story.took(), [], "KAFKA-13207");
}

#[test]
fn a_followers_high_watermark_is_the_leaders_within_its_own_log() {
    let mut story = Story::new(2, 1, 5, 2);
    story.fetched(5, 9, None, &[(5, 6, 1)]);
    assert_eq!(story.view().high_watermark, Offset(2), "the append has not completed");
    story.step(Event::Appended { end: Offset(7) });
    assert_eq!(story.view().high_watermark, Offset(7));
    story.fetched(7, 6, None, &[]);
    assert_eq!(story.view().high_watermark, Offset(6), "a new leader knows less, and it follows");
}

#[test]
fn a_batch_of_a_later_epoch_than_asked_in_is_left() {
    let mut story = Story::new(2, 1, 0, 0);
    story.fetched(0, 0, None, &[(0, 0, 1), (1, 1, 2)]);
    let append = Effect::Append { token: Token::NONE, base: Offset(0), next: Offset(1), stamp: None, batches: 1 };
    assert_eq!(story.took(), [append]);
}

#[test]
fn a_failed_append_fails_all_that_are_behind_it() {
    let mut story = Story::new(1, 1, 0, 0);
    story.produce();
    for token in [5, 6] {
        story.step(Event::Produce { token: Token(token), acks: 1, records: 1 });
    }
    story.took();
    story.step(Event::AppendFailed { from: Offset(1) });
    assert_eq!(story.took(), [fired(5, Fired::Storage), fired(6, Fired::Storage)]);
    assert_eq!(story.view().next_offset, Offset(1));
    story.produce();
    assert_eq!(story.view().log_end_offset, Offset(2));
}

#[test]
fn a_failed_append_leaves_those_before_it_to_complete() {
    let mut story = Story::new(1, 1, 0, 0);
    for token in [5, 6, 7] {
        story.step(Event::Produce { token: Token(token), acks: 1, records: 1 });
    }
    story.took();
    story.step(Event::AppendFailed { from: Offset(1) });
    assert_eq!(story.took(), [fired(6, Fired::Storage), fired(7, Fired::Storage)]);
    assert_eq!(story.view().next_offset, Offset(1));
    // The log tells of each append that failed.
    story.step(Event::AppendFailed { from: Offset(2) });
    assert_eq!(story.view().next_offset, Offset(1));
    story.step(Event::Appended { end: Offset(1) });
    assert_eq!(story.view().log_end_offset, Offset(1));
}

#[test]
fn latest_is_not_told_before_the_high_watermark_has_reached_the_epoch() {
    let mut story = Story::new(1, 1, 5, 2);
    let ask =
        |story: &Story, what| story.partition.plan_list_offsets(LeaderEpoch(1), ReadLimit::HighWatermark, true, what);
    assert_eq!(ask(&story, ListOffsets::Latest), Err(ErrorCode::OffsetNotAvailable));
    let plan = ask(&story, ListOffsets::AtTimestamp(Timestamp(0))).unwrap();
    let found = |offset| OffsetAnswer { offset, timestamp: Timestamp(1), leader_epoch: LeaderEpoch(0) };
    assert_eq!(plan.found(Some(found(Offset(3)))), Err(ErrorCode::OffsetNotAvailable));
    assert_eq!(plan.found(Some(found(Offset(1)))), Ok(found(Offset(1))));
    assert_eq!(plan.found(None), Ok(OffsetAnswer::NONE));
    assert!(
        matches!(ask(&story, ListOffsets::Earliest), Ok(ListOffsetsPlan::Answer(answer)) if answer.offset == Offset(0))
    );
    story.fetch(2, 5).fetch(3, 5);
    let latest = ask(&story, ListOffsets::Latest).unwrap().found(None).unwrap();
    assert_eq!((latest.offset, latest.leader_epoch), (Offset(5), LeaderEpoch(1)));
}

#[test]
fn the_leader_says_where_logs_part() {
    let story = Story::new(1, 1, 5, 5);
    let plan = |last_fetched, offset| {
        story.partition.plan_fetch(
            &FetchFrom {
                replica: NodeId(2),
                broker_epoch: BrokerEpoch(2),
                current_leader_epoch: LeaderEpoch(1),
                last_fetched_epoch: LeaderEpoch(last_fetched),
                offset: Offset(offset),
                leader_only: true,
            },
            true,
        )
    };
    let diverging = plan(0, 7).unwrap();
    assert!(
        matches!(diverging, FetchPlan::Diverging { diverging, .. } if diverging == Diverging { epoch: LeaderEpoch(0), end: Offset(5) }),
        "{diverging:?}"
    );
    assert_eq!(plan(2, 5), Err(ErrorCode::OffsetOutOfRange), "an epoch above all known");
    assert!(matches!(plan(0, 5), Ok(FetchPlan::Read { .. })));
    assert_eq!(plan(-1, 6), Err(ErrorCode::OffsetOutOfRange));
}

#[test]
fn a_repeat_is_acknowledged_when_the_first_one_is_and_fails_with_it() {
    let mut story = Story::new(1, 1, 0, 0);
    story.step(Event::Produce { token: Token(1), acks: 1, records: 2 });
    story.step(Event::Produce { token: Token(2), acks: 1, records: 1 });
    story.repeat(11, 1, 2).repeat(12, -1, 2).repeat(13, 1, 3);
    assert_eq!(story.fired(), [], "nothing is written yet");
    story.step(Event::Appended { end: Offset(2) });
    assert_eq!(story.fired(), [(1, Fired::Reached), (11, Fired::Reached)], "acks=all waits for the followers");
    story.step(Event::AppendFailed { from: Offset(2) });
    assert_eq!(story.fired(), [(2, Fired::Storage), (13, Fired::Storage)]);
    story.fetch(2, 2).fetch(3, 2);
    assert_eq!(story.fired(), [(12, Fired::Reached)]);
    story.repeat(14, -1, 2).repeat(15, 1, 2);
    assert_eq!(story.fired(), [(14, Fired::Reached), (15, Fired::Reached)], "committed");
    story.step(Event::Produce { token: Token(3), acks: -1, records: 1 });
    story.repeat(16, -1, 3).metadata(2, 2, 2, &[1, 2, 3]);
    assert_eq!(story.fired(), [(3, Fired::NotLeader), (16, Fired::NotLeader)]);
}

#[test]
fn a_repeat_needs_as_many_replicas_as_a_first_send() {
    let mut story = Story::new(1, 2, 0, 0);
    story.produce().fetch(2, 1).fetch(3, 1);
    story.metadata(1, 1, 2, &[1]);
    story.out.clear();
    story.repeat(9, -1, 1);
    assert_eq!(story.out, [Effect::Refuse { token: Token(9), error: ErrorCode::NotEnoughReplicas }]);
}
