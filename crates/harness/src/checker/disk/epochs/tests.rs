//! C-EPOCH finds each breach, and accuses no sound log.

use super::*;

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// Node 1 is told event by event.
#[derive(Default)]
struct Told(Epochs, u64);

impl Told {
    fn tell(&mut self, what: Observation) -> &mut Self {
        self.1 += 1;
        let event = Stamped { id: self.1, at_ns: self.1, host: Arc::from("b1"), node: NodeId(1), cause: 0, what };
        self.0.observe(&event);
        self
    }

    fn append(&mut self, base: i64, last: i64, epoch: i32) -> &mut Self {
        let (partition, base, last) = (orders(), Offset(base), Offset(last));
        let leader_epoch = LeaderEpoch(epoch);
        self.tell(Observation::Appended { partition, base, last, leader_epoch, crc: 0, producer: None })
    }

    fn role(&mut self, role: ReplicaRole, epoch: i32, start: i64) -> &mut Self {
        self.tell(Observation::ReplicaRole {
            partition: orders(),
            role,
            leader_epoch: LeaderEpoch(epoch),
            log_end_offset: Offset(start),
            high_watermark: Offset(0),
            epoch_start: Offset(start),
        })
    }

    fn told(&mut self, asked: i32, epoch: i32, end: i64) -> &mut Self {
        let (asked, epoch, end) = (LeaderEpoch(asked), LeaderEpoch(epoch), Offset(end));
        self.tell(Observation::EpochEnd { partition: orders(), asked, epoch, end })
    }

    fn claim(&mut self) -> Option<String> {
        claim(&mut self.0)
    }
}

fn claim(epochs: &mut Epochs) -> Option<String> {
    match epochs.tally.verdict("nothing") {
        Judgement::Violated(violation) => Some(violation.claim),
        Judgement::Held { .. } => None,
        Judgement::NothingToJudge { why } => Some(why),
    }
}

/// Offsets 0..4 in epoch 1, 5..9 in epoch 3, then this node leads epoch 5 from 10 on.
fn leader() -> Told {
    let mut told = Told::default();
    told.role(ReplicaRole::Follower, 3, 0).append(0, 4, 1).append(5, 9, 3).role(ReplicaRole::Leader, 5, 10);
    told
}

#[test]
fn epochs_that_rise_are_held() {
    let mut told = leader();
    told.append(10, 12, 5).told(3, 3, 10).told(2, 1, 5).told(5, 5, 13).told(4, 3, 10);
    assert_eq!(told.claim(), None);
}

#[test]
fn a_batch_of_an_epoch_below_the_one_before_or_above_the_replicas_is_found() {
    let wrong = "a batch was appended with an epoch that its log does not allow";
    assert_eq!(leader().append(10, 10, 2).claim().as_deref(), Some(wrong));
    assert_eq!(leader().append(10, 10, 6).claim().as_deref(), Some(wrong));
    let mut cut = leader();
    let (partition, from, to) = (orders(), Offset(10), Offset(5));
    cut.tell(Observation::Truncated { partition, from, to, leader_epoch: LeaderEpoch(5) }).append(5, 6, 2);
    assert_eq!(cut.claim(), None, "what was above has been cut");
}

#[test]
fn a_leader_that_begins_elsewhere_than_at_its_end_or_in_an_epoch_that_its_log_has_is_found() {
    let wrong = "a leader's epoch does not begin at its log's end, above all epochs before";
    let lead = |epoch, start| {
        let mut told = Told::default();
        told.role(ReplicaRole::Follower, 3, 0).append(0, 4, 3).role(ReplicaRole::Leader, epoch, start);
        told.claim()
    };
    assert_eq!(lead(4, 5), None);
    assert_eq!(lead(4, 4).as_deref(), Some(wrong));
    assert_eq!(lead(4, 6).as_deref(), Some(wrong));
    assert_eq!(lead(3, 5).as_deref(), Some(wrong));
}

#[test]
fn a_wrong_answer_about_where_an_epoch_ends_is_found() {
    let wrong = "a leader tells a wrong end of an epoch";
    for (asked, epoch, end) in [(3, 3, 9), (2, 2, 5), (2, 3, 10), (1, 1, 10), (5, 5, 9)] {
        assert_eq!(leader().told(asked, epoch, end).claim().as_deref(), Some(wrong), "{asked} {epoch} {end}");
    }
    let mut unseen = leader();
    unseen.tell(Observation::LogOpened { partition: orders(), start: Offset(0), end: Offset(20), clean: false });
    unseen.role(ReplicaRole::Leader, 7, 20).told(3, 3, 9);
    assert_eq!(unseen.claim(), None, "what is in the log is not known");
}

/// Batches of five records each: (base, epoch).
fn log(batches: &[(i64, i32)]) -> ReplicaLog {
    let batch = |(base, epoch): &(i64, i32)| DiskBatch {
        newest: 0,
        base: Offset(*base),
        last: Offset(base + 4),
        epoch: LeaderEpoch(*epoch),
        crc: 0,
        size: 100,
    };
    let end = batches.last().map_or(0, |(base, _)| base + 5);
    ReplicaLog {
        partition: orders(),
        dir: "data/orders-0".to_owned(),
        first: Offset(0),
        end: Offset(end),
        batches: batches.iter().map(batch).collect(),
        segments: Vec::new(),
        stray: None,
        wrong_index: Vec::new(),
    }
}

const BATCHES: [(i64, i32); 4] = [(0, 1), (5, 1), (10, 3), (15, 4)];

/// The verdict on a file, with the recovery point there, before a start or at the end.
fn file(text: &str, point: i64, at_end: bool) -> Option<String> {
    let mut files = std::collections::BTreeMap::new();
    files.insert("data/orders-0/leader-epoch-checkpoint".to_owned(), Chunks::from(text.as_bytes().to_vec()));
    let points = format!("0\n2\nother-topic 0 99\norders 0 {point}\n");
    files.insert("data/recovery-point-offset-checkpoint".to_owned(), Chunks::from(points.into_bytes()));
    let disk = HostDisk { host: Arc::from("b1"), node: NodeId(1), files, damage: Vec::new() };
    let mut epochs = Epochs::default();
    if at_end {
        epochs.at_end(&disk, &[log(&BATCHES)]);
    } else {
        epochs.before_start(&disk, &[log(&BATCHES)]);
    }
    claim(&mut epochs)
}

#[test]
fn a_file_that_says_what_the_batches_say_or_can_be_corrected_is_held() {
    assert_eq!(file("0\n3\n1 0\n3 10\n4 15\n", 20, true), None);
    assert_eq!(file("0\n4\n1 0\n3 10\n4 15\n6 20\n", 20, true), None, "an epoch that nothing was written in yet");
    assert_eq!(file("0\n2\n1 0\n3 10\n", 15, true), None, "the last epoch is above the recovery point");
    assert_eq!(file("0\n2\n1 0\n2 10\n", 10, true), None, "what was cut and written anew is above the recovery point");
    assert_eq!(file("0\n1\n3 10\n", 20, false), None, "without a beginning it is made anew");
    assert_eq!(file("0\n3\n1 0\n3 1", 20, false), None, "torn, it is made anew");
}

#[test]
fn a_file_that_no_recovery_would_correct_is_found() {
    let wrong = "a log's leader epochs on disk are not those of its batches, and would not be recovered";
    for at_end in [false, true] {
        assert_eq!(file("0\n2\n1 0\n3 10\n", 20, at_end).as_deref(), Some(wrong), "an epoch is missing");
        assert_eq!(file("0\n3\n1 0\n2 10\n4 15\n", 15, at_end).as_deref(), Some(wrong), "another epoch");
        assert_eq!(file("0\n3\n1 0\n3 5\n4 15\n", 15, at_end).as_deref(), Some(wrong), "it begins elsewhere");
        assert_eq!(file("0\n4\n1 0\n2 9\n3 10\n4 15\n", 20, at_end).as_deref(), Some(wrong), "one too many");
    }
}

#[test]
fn a_file_that_does_not_rise_or_is_torn_under_a_running_process_is_found() {
    let wrong = "a file of leader epochs is no such file";
    for text in [
        "0\n2\n1 0\n1 10\n",
        "0\n2\n3 0\n1 10\n",
        "0\n2\n1 10\n3 10\n",
        "0\n3\n1 0\n3 10\n",
        "1\n1\n1 0\n",
        "0\n1\nx\n",
    ] {
        assert_eq!(file(text, 0, true).as_deref(), Some(wrong), "{text:?}");
    }
}
