//! Requests and answers survive their way over the wire.

use super::*;
use protocol::messages::Message;
use runtime::Address;

fn identity() -> Identity {
    let voter = |id| Voter { id: NodeId(id), address: Address::new(format!("c{id}"), 9093) };
    Identity {
        cluster_id: Str::from_static("bzk1c2VuZC1tb3JlLXNoZQ"),
        node: NodeId(2),
        voters: vec![voter(1), voter(2)],
        listener: Str::from_static("CONTROLLER"),
    }
}

fn through<M: Message>(message: M, version: i16) -> M {
    let bytes = message.to_bytes(version).expect("the version can say it");
    M::decode_exact(bytes, version).expect("what was written can be read")
}

#[test]
fn requests_survive_the_wire() {
    let identity = identity();
    let vote = raft::VoteRequest {
        epoch: LeaderEpoch(7),
        candidate: VoterKey { id: NodeId(1), directory: Uuid::from_halves(1, 2) },
        addressee: VoterKey::of(NodeId(2)),
        last_epoch: LeaderEpoch(6),
        last_offset: Offset(44),
        pre_vote: true,
    };
    assert_eq!(identity.read_vote_request(&through(identity.vote_request(&vote), 2)), Ok(vote));
    let begin = raft::BeginRequest { epoch: LeaderEpoch(7), leader: NodeId(2), addressee: VoterKey::of(NodeId(1)) };
    assert_eq!(identity.read_begin_request(&through(identity.begin_request(&begin), 1)), Ok(begin));
    let end =
        raft::EndRequest { epoch: LeaderEpoch(7), leader: NodeId(2), preferred_successors: vec![NodeId(3), NodeId(1)] };
    assert_eq!(identity.read_end_request(&through(identity.end_request(&end), 1)), Ok(end));
    let fetch = raft::FetchRequest {
        replica: VoterKey { id: NodeId(1), directory: Uuid::from_halves(1, 2) },
        epoch: LeaderEpoch(7),
        offset: Offset(44),
        last_epoch: LeaderEpoch(6),
        high_watermark: None,
        max_wait_ms: 500,
        max_bytes: 1 << 20,
    };
    assert_eq!(identity.read_fetch_request(&through(identity.fetch_request(&fetch), 18)), Ok(fetch));
    let old = raft::FetchRequest { high_watermark: Some(Offset(i64::MAX)), ..fetch };
    assert_eq!(identity.read_fetch_request(&through(identity.fetch_request(&old), 17)), Ok(old));
}

#[test]
fn answers_survive_the_wire() {
    let identity = identity();
    let header = |error| Header { error, epoch: LeaderEpoch(7), leader: Some(NodeId(1)) };
    let vote = raft::VoteResponse { header: header(None), granted: true };
    let read = Identity::read_vote_response(&through(identity.vote_response(&vote), 2));
    assert_eq!(read, Ok(raft::Response::Vote(vote)));
    for (error, _) in ERRORS {
        let refused = header(Some(error));
        let begin = Identity::read_begin_response(&through(identity.begin_response(refused), 1));
        assert_eq!(begin, Ok(raft::Response::Begin(refused)));
        let end = Identity::read_end_response(&through(identity.end_response(refused), 1));
        assert_eq!(end, Ok(raft::Response::End(refused)));
    }
    let fetch = raft::FetchResponse {
        header: header(None),
        high_watermark: Some(Offset(40)),
        diverging: Some(EpochEnd { epoch: LeaderEpoch(5), end: Offset(41) }),
        records: Records::None,
    };
    let read = Identity::read_fetch_response(through(identity.fetch_response(&fetch, Chunks::new()), 18));
    assert_eq!(read, Ok(raft::Response::Fetch(fetch)));
}

#[test]
fn another_clusters_request_is_refused() {
    let ours = identity();
    let theirs = Identity { cluster_id: Str::from_static("another"), ..identity() };
    let end = raft::EndRequest { epoch: LeaderEpoch(1), leader: NodeId(1), preferred_successors: Vec::new() };
    assert_eq!(ours.read_end_request(&theirs.end_request(&end)), Err(ErrorCode::InconsistentClusterId));
}
