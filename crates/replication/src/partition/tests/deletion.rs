//! Claims about deleted records, about who a consumer is sent to, and what a follower tells whoever looks for a fault.

use super::*;

impl Story {
    fn delete(&mut self, token: u64, before: Option<i64>) -> Effects {
        self.step(Event::DeleteRecords { token: Token(token), before: before.map(Offset) });
        self.took()
    }

    /// A fetch at the log's end, of a replica that begins at `start`.
    fn fetch_from(&mut self, replica: i32, start: i64) -> Effects {
        let offset = self.view().log_end_offset;
        self.step(Event::FollowerFetch(FollowerFetch {
            replica: NodeId(replica),
            broker_epoch: broker(replica).epoch,
            offset,
            log_start_offset: Offset(start),
        }));
        self.took()
    }
}

/// A leader with four records, all of them committed.
fn committed() -> Story {
    let mut story = Story::new(1, 1, 4, 4);
    story.fetch(2, 4).fetch(3, 4);
    assert_eq!(story.view().high_watermark, Offset(4));
    story.took();
    story
}

#[test]
fn a_deletion_is_done_when_no_live_replica_has_the_records() {
    let mut story = committed();
    assert_eq!(story.delete(7, Some(3)), [Effect::RaiseLogStart { to: Offset(3) }]);
    assert_eq!((story.view().log_start_offset, story.partition.low_watermark()), (Offset(3), Offset(0)));
    assert_eq!(story.fetch_from(2, 3), []);
    assert_eq!(story.fetch_from(3, 2), []);
    assert_eq!(story.fetch_from(3, 3), [fired(7, Fired::Reached)]);
    assert_eq!(story.partition.low_watermark(), Offset(3));
    assert_eq!(story.delete(8, Some(1)), [fired(8, Fired::Reached)], "nothing moves back");
    assert_eq!(story.view().log_start_offset, Offset(3));
}

#[test]
fn a_deletion_does_not_wait_for_a_broker_that_is_fenced() {
    let mut story = committed();
    story.delete(7, None);
    story.fetch_from(2, 4);
    let fenced = BrokerState { fenced: true, ..broker(3) };
    let brokers = BTreeMap::from([(NodeId(1), broker(1)), (NodeId(2), broker(2)), (NodeId(3), fenced)]);
    story.step(Event::Brokers(Arc::new(brokers)));
    assert_eq!(story.took(), [fired(7, Fired::Reached)]);
}

#[test]
fn what_is_not_committed_is_not_deleted() {
    let mut story = committed();
    story.produce();
    story.took();
    let refused = |token, error| [Effect::Refuse { token: Token(token), error }];
    assert_eq!(story.delete(7, Some(5)), refused(7, ErrorCode::OffsetOutOfRange));
    assert_eq!(story.delete(8, Some(-2)), refused(8, ErrorCode::OffsetOutOfRange));
    assert_eq!(story.view().log_start_offset, Offset(0));
    let mut follower = Story::new(2, 1, 4, 4);
    assert_eq!(follower.delete(7, Some(3)), refused(7, ErrorCode::NotLeaderOrFollower));
}

#[test]
fn a_deletion_ends_with_the_leadership_and_with_the_topic() {
    let mut story = committed();
    story.delete(7, Some(3));
    story.metadata(2, 2, 2, &[1, 2, 3]);
    assert_eq!(story.took(), [fired(7, Fired::NotLeader)]);
    let mut story = committed();
    story.delete(7, Some(3));
    assert_eq!(story.step(Event::Deleted).took(), [fired(7, Fired::Deleted)]);
}

#[test]
fn a_consumer_is_sent_to_the_furthest_replica_in_sync_that_has_its_offset() {
    let mut story = committed();
    story.produce();
    story.fetch(3, 5);
    let near = [NodeId(2), NodeId(3)];
    assert_eq!(story.partition.preferred_replica(&near, Offset(4)), Some(NodeId(3)));
    assert_eq!(story.partition.preferred_replica(&near[..1], Offset(4)), Some(NodeId(2)));
    assert_eq!(story.partition.preferred_replica(&near[..1], Offset(5)), None, "2 does not have it");
    assert_eq!(story.partition.preferred_replica(&[NodeId(9)], Offset(4)), None);
    story.metadata(1, 1, 2, &[1, 2]);
    assert_eq!(story.partition.preferred_replica(&near, Offset(4)), Some(NodeId(2)), "3 is not in sync");
    assert_eq!(
        Story::new(2, 1, 4, 4).partition.preferred_replica(&near, Offset(4)),
        None,
        "a follower sends nobody away"
    );
}

#[test]
fn a_follower_tells_its_ends_to_whoever_looks_for_a_fault_and_to_nobody_else() {
    let follower = Story::new(2, 1, 4, 3);
    let ask = |leader_only| {
        follower.partition.plan_list_offsets(LeaderEpoch(1), ReadLimit::LogEnd, leader_only, ListOffsets::Latest)
    };
    assert_eq!(ask(true), Err(ErrorCode::NotLeaderOrFollower));
    let end = OffsetAnswer { offset: Offset(4), timestamp: Timestamp::NONE, leader_epoch: LeaderEpoch(1) };
    assert_eq!(ask(false), Ok(ListOffsetsPlan::Answer(end)));
}
