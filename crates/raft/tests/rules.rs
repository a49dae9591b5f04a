//! Single rules of the quorum, each told to one machine event by event.

mod node;

use node::*;

use bytes::Bytes;
use protocol::{LeaderEpoch, NodeId, Offset};
use raft::{
    BeginRequest, Effect, Election, EndRequest, ErrorCode, Event, Failure, FetchRequest, Records, Request, Response,
    RoleName, VoteRequest, VoterKey,
};

// Durability.

#[test]
fn a_vote_is_written_before_it_is_sent() {
    let mut node = Node::start(1..=3, Some(election(3, 0, 0)), log(&[(1, 0)], 5));
    let granted = node.vote(2, 4, (1, 5), false).granted;
    assert!(granted);
    let written = position(
        &node.out,
        |effect| matches!(effect, Effect::Persist(Election { epoch: LeaderEpoch(4), voted: Some(voted), .. }) if voted.id == NodeId(2)),
    );
    assert!(written < position(&node.out, |effect| matches!(effect, Effect::Reply { .. })));
}

#[test]
fn a_candidate_writes_its_own_vote_before_it_asks() {
    let mut node = Node::start(1..=3, None, log(&[], 0));
    node.wait(2_000);
    assert_eq!(node.role(), RoleName::Prospective);
    assert!(!node.out.iter().any(|effect| matches!(effect, Effect::Persist(_))), "a pre-vote leaves no trace");
    node.answer_all(|request| vote(request, true));
    let written =
        position(&node.out, |effect| matches!(effect, Effect::Persist(election) if election.epoch == epoch(1)));
    let asked = position(&node.out, |effect| {
        matches!(effect, Effect::Send { request: Request::Vote(VoteRequest { pre_vote: false, .. }), .. })
    });
    assert!(written < asked);
}

#[test]
fn a_leader_counts_itself_only_once_it_has_flushed() {
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    assert_eq!(node.quorum.view().high_watermark, Some(offset(1)));
    assert_eq!(node.fetch(2, 1, 1), None, "nothing more to read: the fetch waits");
    node.step(Event::Replayed { end: offset(1) });
    assert!(matches!(node.out[0], Effect::Elected { start: Offset(1), .. }));
    node.step(Event::Propose { epoch: epoch(1), ticket: 9, records: vec![Bytes::from_static(b"x"); 2] });
    assert_eq!(node.out[0], Effect::Proposed { ticket: 9, last: offset(2) });
    node.wait(25);
    assert!(node.out.iter().any(|effect| matches!(effect, Effect::Append { .. })));
    node.step(Event::Appended { generation: 0, end: offset(3) });
    assert_eq!(node.replies().len(), 1, "a follower may have what is not flushed yet");
    assert_eq!(node.fetch(2, 3, 1), None);
    assert_eq!(node.quorum.view().high_watermark, Some(offset(1)), "one of three voters has it durably");
    node.step(Event::Flushed { generation: 0, end: offset(3) });
    assert!(node.out.contains(&Effect::Committed { offset: offset(3) }));
    assert_eq!(node.replies().len(), 1, "the high watermark rose: the waiting follower hears of it");
}

#[test]
fn a_voter_fetches_again_only_once_it_has_flushed_and_an_observer_at_once() {
    let mut voter = Node::follower(20, 20);
    voter.answer_fetch(fetched(3, 2, Some(20), None, batches(&[(20, 24, 3)])));
    assert!(voter.sent().is_empty());
    voter.step(Event::Appended { generation: 0, end: offset(25) });
    assert!(voter.sent().is_empty(), "in the file is not on the disk");
    voter.step(Event::Flushed { generation: 0, end: offset(25) });
    assert!(matches!(voter.sent()[0].2, Request::Fetch(FetchRequest { offset: Offset(25), .. })));

    let mut observer = Node::start_as(9, 1..=3, Some(election(3, 2, 0)), log(&[(3, 0)], 20));
    observer.answer_fetch(fetched(3, 2, Some(20), None, batches(&[(20, 24, 3)])));
    observer.step(Event::Appended { generation: 0, end: offset(25) });
    assert!(matches!(observer.sent()[0].2, Request::Fetch(FetchRequest { offset: Offset(25), .. })));
}

// Restart.

#[test]
fn a_node_comes_up_as_its_file_says_and_never_as_leader() {
    let start = |file| Node::start(1..=3, file, log(&[(1, 0), (3, 10)], 20)).quorum.view();
    let role = |file| (start(file).role, start(file).epoch.0);
    assert_eq!(role(Some(election(3, 1, 0))), (RoleName::Resigned, 3), "led (KAFKA-10527)");
    assert_eq!(role(Some(election(5, 0, 1))), (RoleName::Candidate, 5), "stood for election");
    assert_eq!(role(Some(election(5, 2, 0))), (RoleName::Follower, 5), "followed");
    assert_eq!(role(Some(election(5, 0, 3))), (RoleName::Unattached, 5), "voted");
    assert_eq!(start(Some(election(5, 0, 3))).voted, Some(NodeId(3)), "the vote stands");
    assert_eq!(role(Some(election(2, 2, 0))), (RoleName::Unattached, 3), "the file is older than the log");
    assert_eq!(role(None), (RoleName::Unattached, 3), "the file is lost");
}

#[test]
fn a_restarted_leader_neither_appends_nor_votes_and_moves_on_to_the_next_epoch() {
    let mut node = Node::start(1..=3, Some(election(3, 1, 0)), log(&[(3, 0)], 20));
    let ends = node.sent().iter().filter(|(_, _, request)| matches!(request, Request::End(_))).count();
    assert_eq!(ends, 2, "both other voters are told");
    assert!(!node.vote(2, 3, (2, 99), false).granted);
    node.step(Event::Propose { epoch: epoch(3), ticket: 1, records: vec![Bytes::new()] });
    assert_eq!(node.out, [Effect::Refused { ticket: 1 }]);
    node.wait(2_000);
    assert_eq!((node.role(), node.quorum.view().epoch), (RoleName::Prospective, epoch(4)));
}

#[test]
fn a_lone_voter_leads_at_once() {
    let node = Node::start(1..=1, None, log(&[], 0));
    assert_eq!((node.role(), node.quorum.view().epoch), (RoleName::Leader, epoch(1)));
    let again = Node::start(1..=1, Some(election(1, 1, 0)), log(&[(1, 0)], 1));
    assert_eq!((again.role(), again.quorum.view().epoch), (RoleName::Leader, epoch(2)), "never the same epoch");
}

// Votes.

#[test]
fn a_node_votes_once_an_epoch_and_only_for_a_log_that_is_up_to_date() {
    let mut node = Node::start(1..=3, Some(election(3, 0, 0)), log(&[(1, 0), (3, 10)], 20));
    assert!(!node.vote(2, 4, (1, 99), false).granted, "an older last epoch");
    assert!(!node.vote(2, 4, (3, 19), false).granted, "a shorter log");
    assert!(node.vote(2, 4, (3, 20), false).granted);
    assert!(!node.vote(3, 4, (3, 99), false).granted, "the vote is given");
    assert!(node.vote(2, 4, (3, 20), false).granted, "to the same once more");
    assert!(node.vote(3, 5, (3, 99), false).granted, "a new epoch, a new vote");
}

#[test]
fn a_follower_that_hears_its_leader_refuses_pre_votes() {
    let mut fresh = Node::start(1..=3, Some(election(3, 2, 0)), log(&[(3, 0)], 20));
    assert!(fresh.vote(3, 3, (3, 20), true).granted, "it has heard nothing yet");
    let mut node = Node::follower(20, 20);
    assert!(!node.vote(3, 3, (3, 99), true).granted, "KIP-996");
    assert_eq!(node.role(), RoleName::Follower);
}

#[test]
fn votes_with_impossible_epochs_are_invalid() {
    let mut node = Node::start(1..=3, Some(election(3, 0, 0)), log(&[], 0));
    assert_eq!(node.vote(2, 4, (4, 1), false).header.error, Some(ErrorCode::InvalidRequest));
    assert_eq!(node.vote(2, 3, (3, 1), true).header.error, None, "a pre-vote names the current epoch");
    assert_eq!(node.vote(2, 2, (1, 1), false).header.error, Some(ErrorCode::FencedLeaderEpoch));
}

#[test]
fn who_loses_a_pre_vote_returns_to_its_leader_in_the_same_epoch() {
    let mut node = Node::follower(20, 20);
    node.wait(2_000);
    assert_eq!(node.role(), RoleName::Prospective);
    node.answer_all(|request| vote(request, false));
    let view = node.quorum.view();
    assert_eq!((view.role, view.epoch, view.leader), (RoleName::Follower, epoch(3), Some(NodeId(2))));
}

#[test]
fn a_voter_that_predates_pre_votes_makes_a_candidate() {
    let mut node = Node::start(1..=3, None, log(&[], 0));
    node.wait(2_000);
    let (_, correlation, _) = node.sent()[0].clone();
    node.step(Event::Response { correlation, result: Err(Failure::UnsupportedVersion) });
    assert_eq!(node.role(), RoleName::Candidate);
}

// Leading.

#[test]
fn nothing_is_committed_before_the_leaders_own_record() {
    // Epoch 3 ended at 20, of which a majority may have less; this leader of epoch 4 opens at 20.
    let mut node = Node::start(1..=3, Some(election(3, 0, 0)), log(&[(3, 0)], 20));
    node.wait(2_000);
    node.answer_all(|request| vote(request, true));
    node.answer_all(|request| vote(request, true));
    assert_eq!(node.role(), RoleName::Leader);
    node.disk(21);
    node.fetch(2, 20, 3);
    assert_eq!(node.quorum.view().high_watermark, None, "up to its record is not past it (KAFKA-12619)");
    node.fetch(2, 21, 4);
    assert_eq!(node.quorum.view().high_watermark, Some(offset(21)));
}

#[test]
fn a_host_is_elected_once_it_has_replayed_the_leaders_record_and_hears_when_it_is_over() {
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    assert!(!node.out.iter().any(|effect| matches!(effect, Effect::Elected { .. })), "KAFKA-15345");
    node.step(Event::Replayed { end: offset(1) });
    assert_eq!(node.out, [Effect::Elected { epoch: epoch(1), start: offset(1) }]);
    node.vote(3, 2, (1, 9), false);
    assert!(node.out.contains(&Effect::Lost { epoch: epoch(1) }));
}

#[test]
fn a_leader_that_a_majority_leaves_resigns_and_its_waiting_fetches_are_refused() {
    let mut node = Node::leader();
    assert_eq!(node.fetch(9, 1, 1), None, "an observer waits");
    node.wait(400);
    node.fetch(2, 1, 1);
    node.wait(2_999);
    assert_eq!(node.role(), RoleName::Leader, "one other voter is a majority's worth");
    node.wait(1);
    assert_eq!(node.role(), RoleName::Resigned);
}

#[test]
fn resigning_refuses_the_fetches_that_wait() {
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    assert_eq!(node.fetch(3, 1, 1), None, "waits for records");
    node.step(Event::Resign { epoch: epoch(1) });
    let refused = |response: &Response| response.header().error == Some(ErrorCode::NotLeaderOrFollower);
    assert!(node.replies().iter().any(|(_, response)| refused(response)), "KAFKA-10677: {:?}", node.out);
}

#[test]
fn a_waiting_fetch_is_answered_when_its_time_is_up() {
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    assert_eq!(node.fetch(3, 1, 1), None);
    node.wait(500);
    assert!(!node.replies().is_empty());
}

#[test]
fn a_replica_whose_log_leaves_the_leaders_is_told_where() {
    let mut node = Node::start(1..=3, Some(election(3, 0, 0)), log(&[(1, 0), (3, 10)], 20));
    node.wait(2_000);
    node.answer_all(|request| vote(request, true));
    node.answer_all(|request| vote(request, true));
    node.disk(21);
    let diverging = |response: Option<Response>| match response {
        Some(Response::Fetch(response)) => response.diverging.map(|end| (end.epoch.0, end.end.0)),
        other => panic!("answered at once: {other:?}"),
    };
    assert_eq!(diverging(node.fetch(2, 12, 2)), Some((1, 10)), "epoch 2 is unknown here");
    assert_eq!(diverging(node.fetch(2, 25, 3)), Some((3, 20)), "epoch 3 ended before");
    assert_eq!(diverging(node.fetch(2, 20, 3)), None);
}

#[test]
fn proposals_of_another_epoch_and_of_one_who_does_not_lead_are_refused() {
    let propose = |epoch| Event::Propose { epoch: LeaderEpoch(epoch), ticket: 4, records: vec![Bytes::new()] };
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    assert_eq!(node.step(propose(1))[0], Effect::Refused { ticket: 4 }, "not before the host is elected");
    node.step(Event::Replayed { end: offset(1) });
    assert_eq!(node.step(propose(0))[0], Effect::Refused { ticket: 4 });
    assert_eq!(node.step(propose(1))[0], Effect::Proposed { ticket: 4, last: offset(1) });
    assert_eq!(Node::follower(20, 20).step(propose(3))[0], Effect::Refused { ticket: 4 });
}

#[test]
fn proposals_wait_for_company_but_not_when_they_are_many() {
    let propose = || Event::Propose { epoch: epoch(1), ticket: 4, records: vec![Bytes::from_static(b"x")] };
    let mut node = Node::leader();
    node.fetch(2, 1, 1);
    node.step(Event::Replayed { end: offset(1) });
    for _ in 0..9 {
        assert!(!node.step(propose()).iter().any(|effect| matches!(effect, Effect::Append { .. })), "lingers");
    }
    let appended = node.step(propose()).iter().find_map(|effect| match effect {
        Effect::Append { batches, .. } => Some(batches.len()),
        _ => None,
    });
    assert_eq!(appended, Some(10), "ten batches go at once, each its own");
}

// Following.

#[test]
fn a_diverging_answer_cuts_the_log_and_brings_no_high_watermark() {
    let mut node = Node::start(1..=3, Some(election(3, 2, 0)), log(&[(1, 0), (3, 10)], 20));
    node.answer_fetch(fetched(3, 2, Some(18), Some((3, 16)), Records::None));
    assert!(node.out.contains(&Effect::Truncate { to: offset(16) }));
    assert_eq!(node.quorum.view().high_watermark, None, "KAFKA-14704");
    assert_eq!(node.quorum.view().log_end, offset(16));
}

#[test]
fn a_cut_below_the_own_high_watermark_stops_the_node() {
    let mut node = Node::start(1..=3, Some(election(3, 2, 0)), log(&[(1, 0), (3, 10)], 20));
    node.answer_fetch(fetched(3, 2, Some(18), None, Records::None));
    assert_eq!(node.quorum.view().high_watermark, Some(offset(18)));
    node.answer_fetch(fetched(3, 2, None, Some((3, 16)), Records::None));
    assert!(
        matches!(&node.out[0], Effect::Fatal { why } if why.contains("below the high watermark")),
        "{:?}",
        node.out
    );
}

#[test]
fn batches_of_a_later_epoch_than_the_fetch_are_left_for_the_next() {
    let mut node = Node::start(1..=3, Some(election(3, 2, 0)), log(&[(3, 0)], 20));
    node.answer_fetch(fetched(3, 2, None, None, batches(&[(20, 21, 3), (22, 22, 4)])));
    assert_eq!(node.quorum.view().log_end, offset(22), "KAFKA-18723");
}

#[test]
fn a_second_leader_of_an_epoch_stops_the_node() {
    let mut node = Node::follower(20, 20);
    let begin = BeginRequest { epoch: epoch(3), leader: NodeId(3), addressee: VoterKey::of(NodeId(1)) };
    node.ask(Request::Begin(begin));
    assert!(node.out.iter().any(|effect| matches!(effect, Effect::Fatal { .. })));
}

#[test]
fn the_first_successor_stands_at_once_when_its_leader_ends() {
    let mut node = Node::follower(20, 20);
    let end = |successors: &[i32]| EndRequest {
        epoch: epoch(3),
        leader: NodeId(2),
        preferred_successors: successors.iter().map(|id| NodeId(*id)).collect(),
    };
    node.ask(Request::End(end(&[1, 3])));
    assert_eq!(node.role(), RoleName::Prospective);
    let mut second = Node::follower(20, 20);
    second.ask(Request::End(end(&[3, 1])));
    assert_eq!(second.role(), RoleName::Follower, "waits half of the longest");
    second.wait(500);
    assert_eq!(second.role(), RoleName::Prospective);
}

#[test]
fn an_observer_never_stands_for_election() {
    let mut node = Node::start_as(9, 1..=3, Some(election(3, 2, 0)), log(&[(3, 0)], 20));
    for _ in 0..10 {
        node.wait(10_000);
        assert_eq!(node.role(), RoleName::Follower);
    }
}

// Stopping.

#[test]
fn a_follower_stops_at_once_and_a_leader_once_it_has_a_successor() {
    let mut follower = Node::follower(20, 20);
    assert!(follower.step(Event::Shutdown).contains(&Effect::Stopped));
    let mut leader = Node::leader();
    assert!(!leader.step(Event::Shutdown).contains(&Effect::Stopped));
    assert_eq!(leader.role(), RoleName::Resigned);
    assert_eq!(
        leader.fetch(2, 1, 1).map(|response| response.header().error),
        Some(Some(ErrorCode::BrokerNotAvailable))
    );
    leader.vote(2, 2, (1, 9), false);
    assert!(leader.out.contains(&Effect::Stopped));
}

#[test]
fn a_leader_that_can_have_no_successor_stops_at_once() {
    let mut leader = Node::leader();
    leader.step(Event::Shutdown);
    let sent: Vec<u64> = (leader.out.iter())
        .filter_map(|effect| match effect {
            Effect::Send { correlation, request: Request::End(_), .. } => Some(*correlation),
            _ => None,
        })
        .collect();
    assert_eq!(sent.len(), 2);
    let gone = |correlation| Event::Response { correlation, result: Err(Failure::Disconnected) };
    assert!(!leader.step(gone(sent[0])).contains(&Effect::Stopped), "the other one and this one are a majority");
    assert!(leader.step(gone(sent[1])).contains(&Effect::Stopped));
}

#[test]
fn a_leader_without_a_successor_stops_after_five_seconds() {
    let mut leader = Node::leader();
    leader.step(Event::Shutdown);
    leader.wait(4_999);
    assert!(!leader.out.contains(&Effect::Stopped));
    leader.wait(1);
    assert!(leader.out.contains(&Effect::Stopped));
}
