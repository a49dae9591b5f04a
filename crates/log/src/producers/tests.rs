//! Claims about producer states, and the machine against a list of all that was ever written.

use proptest::prelude::*;
use protocol::LeaderEpoch;

use super::*;

fn producer(id: i64, epoch: i16, base_sequence: i32) -> BatchProducer {
    BatchProducer { id, epoch, base_sequence, is_transactional: false, is_control: false }
}

fn span(producer: BatchProducer, base: i64, records: u32) -> BatchSpan {
    BatchSpan {
        base: Offset(base),
        last: Offset(base + i64::from(records) - 1),
        epoch: LeaderEpoch(0),
        size: 61,
        crc: 0,
        max_timestamp: Timestamp(1_000 + base),
        producer: Some(producer),
    }
}

/// A log that is asked before each append.
#[derive(Default)]
struct Asked {
    states: ProducerStates,
    next: i64,
}

impl Asked {
    fn send(&mut self, id: i64, epoch: i16, sequence: i32, records: u32) -> Result<i64, ErrorCode> {
        let producer = producer(id, epoch, sequence);
        match self.states.judge(producer, records) {
            Verdict::Follows => {
                let base = self.next;
                self.states.take(&span(producer, base, records));
                self.next += i64::from(records);
                Ok(base)
            }
            Verdict::Repeats(span) => Ok(span.base.0),
            Verdict::Refused(error) => Err(error),
        }
    }
}

const OUT_OF_ORDER: Result<i64, ErrorCode> = Err(ErrorCode::OutOfOrderSequenceNumber);

#[test]
fn five_batches_are_recognised_and_a_sixth_is_out_of_order() {
    let mut log = Asked::default();
    for batch in 0..6 {
        assert_eq!(log.send(7, 0, batch * 10, 10), Ok(i64::from(batch) * 10));
    }
    for batch in 1..6 {
        assert_eq!(log.send(7, 0, batch * 10, 10), Ok(i64::from(batch) * 10), "a repeat has its first offset");
    }
    assert_eq!(log.send(7, 0, 0, 10), OUT_OF_ORDER, "older than five");
    assert_eq!(log.send(7, 0, 50, 5), OUT_OF_ORDER, "a part of a batch is no repeat");
    assert_eq!(log.send(7, 0, 61, 1), OUT_OF_ORDER, "a gap");
    assert_eq!(log.send(7, 0, 60, 1), Ok(60));
}

#[test]
fn epochs_rise_and_begin_at_zero() {
    let mut log = Asked::default();
    assert_eq!(log.send(7, 3, 100, 1), Ok(0), "who is not known may begin anywhere");
    assert_eq!(log.send(7, 2, 0, 1), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(log.send(7, 4, 101, 1), OUT_OF_ORDER);
    assert_eq!(log.send(7, 4, 0, 1), Ok(1));
    assert_eq!(log.send(7, 3, 100, 1), Err(ErrorCode::InvalidProducerEpoch), "the epoch before is forgotten");
    assert_eq!(log.send(7, 4, 0, 1), Ok(1));
    assert_eq!(log.send(8, 0, 0, 1), Ok(2), "another producer is another matter");
}

#[test]
fn after_the_largest_sequence_number_comes_zero() {
    let mut log = Asked::default();
    assert_eq!(log.send(7, 0, i32::MAX - 1, 2), Ok(0));
    assert_eq!(log.send(7, 0, i32::MAX - 1, 2), Ok(0));
    assert_eq!(log.send(7, 0, 0, 1), Ok(2));
    let mut log = Asked::default();
    assert_eq!(log.send(7, 0, i32::MAX - 1, 5), Ok(0), "inside a batch");
    assert_eq!(log.send(7, 0, i32::MAX - 1, 5), Ok(0));
    assert_eq!(log.states.get(7).expect("it wrote").last_sequence(), 2);
    assert_eq!(log.send(7, 0, 3, 1), Ok(5));
}

#[test]
fn what_was_taken_back_is_no_repeat() {
    let mut log = Asked::default();
    assert_eq!(log.send(7, 0, 0, 2), Ok(0));
    log.states.completed(Offset(2));
    assert_eq!(log.send(7, 0, 2, 2), Ok(2));
    assert_eq!(log.send(7, 1, 0, 1), Ok(4));
    assert_eq!(log.send(9, 0, 0, 1), Ok(5));
    log.states.undo_from(Offset(2));
    log.next = 2;
    assert_eq!(log.states.len(), 1);
    assert_eq!(log.send(7, 0, 4, 1), OUT_OF_ORDER, "its predecessor is not there");
    assert_eq!(log.send(7, 0, 2, 2), Ok(2));
    assert_eq!(log.send(7, 0, 0, 2), Ok(0), "what had completed stays");
}

#[test]
fn producers_expire_by_the_timestamps_of_their_batches_unless_a_transaction_is_open() {
    let mut states = ProducerStates::new();
    states.take(&span(producer(1, 0, 0), 0, 1));
    states.take(&span(producer(2, 0, 0), 500, 1));
    states.take(&span(BatchProducer { is_transactional: true, ..producer(3, 0, 0) }, 501, 1));
    assert_eq!(states.expire(Timestamp(1_600), Duration::from_millis(200)), 1);
    assert_eq!(states.expire(Timestamp(9_000), Duration::from_millis(200)), 1);
    assert_eq!(states.get(3).expect("its transaction is open").transaction_start, Offset(501));
    assert_eq!(states.judge(producer(1, 0, 77), 1), Verdict::Follows, "forgotten is not known");
    let marker = BatchProducer { is_control: true, is_transactional: true, ..producer(3, 0, -1) };
    states.take(&span(marker, 600, 1));
    assert_eq!(states.expire(Timestamp(9_000), Duration::from_millis(200)), 1);
}

#[test]
fn a_marker_of_a_new_epoch_forgets_the_batches_and_one_of_the_same_keeps_them() {
    let data = BatchProducer { is_transactional: true, ..producer(3, 4, 0) };
    let marker = |epoch| BatchProducer { epoch, base_sequence: -1, is_control: true, ..data };
    for (epoch, last) in [(4, 1), (5, -1)] {
        let mut states = ProducerStates::new();
        states.take(&span(data, 10, 2));
        states.take(&span(marker(epoch), 12, 1));
        let state = states.get(3).expect("it wrote");
        assert_eq!((state.epoch, state.last_sequence(), state.transaction_start), (epoch, last, Offset::NONE));
        assert_eq!(states.judge(BatchProducer { epoch, base_sequence: last + 1, ..data }, 1), Verdict::Follows);
    }
}

#[test]
fn a_snapshot_has_kafkas_bytes() {
    // The entry of producer 3 is one that Kafka 4.3.1 wrote (formats: a transaction open since offset 98).
    let entry = SnapshotEntry {
        id: 3,
        epoch: 5,
        last_sequence: 1,
        last_offset: Offset(99),
        offset_delta: 0,
        timestamp: 0x18b_cff4_8332,
        coordinator_epoch: 0,
        transaction_start: Offset(98),
    };
    let snapshot = ProducerSnapshot { entries: vec![entry] };
    let bytes = snapshot.print();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        &hex[12..],
        "000000010000000000000003000500000001000000000000006300000000\
         0000018bcff48332000000000000000000000062"
    );
    assert_eq!(ProducerSnapshot::parse(&bytes), Ok(snapshot));
    for at in 2..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(ProducerSnapshot::parse(&damaged).is_err(), "byte {at} may be anything");
        assert!(ProducerSnapshot::parse(&bytes[..at]).is_err(), "{at} bytes are enough");
    }
}

/// All that was written, judged by looking through it.
#[derive(Clone, Default)]
struct Naive {
    written: Vec<BatchSpan>,
}

impl Naive {
    fn end(&self) -> i64 {
        self.written.last().map_or(0, |last| last.last.0 + 1)
    }

    /// The batches of the producer's last epoch, the newest first.
    fn of(&self, id: i64) -> Vec<(BatchProducer, BatchSpan)> {
        let own = self.written.iter().rev().filter_map(|span| Some((span.producer?, *span)));
        let own: Vec<_> = own.filter(|(it, _)| it.id == id).collect();
        let epoch = own.first().map(|(newest, _)| newest.epoch);
        own.into_iter().take_while(|(it, _)| Some(it.epoch) == epoch).collect()
    }

    fn judge(&self, asked: BatchProducer, records: u32) -> Result<Option<i64>, ErrorCode> {
        let own = self.of(asked.id);
        let Some((newest, span)) = own.first() else { return Ok(None) };
        let length = |span: &BatchSpan| span.last.0 - span.base.0 + 1;
        let same = own.iter().take(5).find(|(it, span)| {
            it.base_sequence == asked.base_sequence && length(span) == i64::from(records) && it.epoch == asked.epoch
        });
        if let Some((_, span)) = same {
            return Ok(Some(span.base.0));
        }
        let next = (i64::from(newest.base_sequence) + length(span)) % (1 << 31);
        match asked.epoch.cmp(&newest.epoch) {
            std::cmp::Ordering::Less => Err(ErrorCode::InvalidProducerEpoch),
            std::cmp::Ordering::Greater if asked.base_sequence == 0 => Ok(None),
            std::cmp::Ordering::Equal if i64::from(asked.base_sequence) == next => Ok(None),
            _ => Err(ErrorCode::OutOfOrderSequenceNumber),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Of producer, in an epoch this much newer, so far from the sequence number that is due, of so many records.
    Send { id: i64, newer: i16, off: i32, records: u32 },
    /// The batch of this place from the end, once more.
    Again { back: usize },
    /// So many of the appends under way complete.
    Complete { appends: usize },
    /// All but so many of the appends under way fail.
    Fail { kept: usize },
    /// What is written is cut to so many batches, and the states are rebuilt from a snapshot at one of the batches and the
    /// batches from one before it on.
    Cut { kept: usize, snapshot: usize, history: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3i64, prop_oneof![9 => Just(0i16), 1 => -1..3i16], prop_oneof![6 => Just(0), 1 => -12..3], 1..4u32)
            .prop_map(|(id, newer, off, records)| Step::Send { id, newer, off, records }),
        3 => (0..12usize).prop_map(|back| Step::Again { back }),
        4 => (0..4usize).prop_map(|appends| Step::Complete { appends }),
        1 => (0..4usize).prop_map(|kept| Step::Fail { kept }),
        1 => (0..40usize, 0..40usize, 0..40usize)
            .prop_map(|(kept, snapshot, history)| Step::Cut { kept, snapshot, history }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_states_judge_as_one_would_who_looks_through_the_whole_log(steps in prop::collection::vec(step(), 1..80)) {
        let mut naive = Naive::default();
        let mut states = ProducerStates::new();
        // How many batches have completed.
        let mut completed = 0;
        for step in steps {
            let asked = match step {
                Step::Send { id, newer, off, records } => {
                    let (epoch, due) = match naive.of(id).first() {
                        None => (0, i32::MAX - 6),
                        Some((newest, span)) => {
                            let next = (i64::from(newest.base_sequence) + span.last.0 - span.base.0 + 1) % (1 << 31);
                            (newest.epoch, if newer > 0 { 0 } else { next as i32 })
                        }
                    };
                    let sequence = due.saturating_add(off).max(0);
                    Some((producer(id, (epoch + newer).max(0), sequence), records))
                }
                Step::Again { back } => {
                    let written = naive.written.iter().rev().nth(back);
                    written.map(|span| (span.producer.expect("all have one"), (span.last.0 - span.base.0 + 1) as u32))
                }
                Step::Complete { appends } => {
                    completed = naive.written.len().min(completed + appends);
                    states.completed(Offset(naive.written[..completed].last().map_or(0, |last| last.last.0 + 1)));
                    None
                }
                Step::Fail { kept } => {
                    let kept = naive.written.len().min(completed + kept);
                    if let Some(first) = naive.written.get(kept) {
                        states.undo_from(first.base);
                    }
                    naive.written.truncate(kept);
                    None
                }
                Step::Cut { kept, snapshot, history } => {
                    naive.written.truncate(kept);
                    completed = naive.written.len();
                    let snapshot = snapshot.min(naive.written.len());
                    let history = history.min(snapshot);
                    let at = Offset(naive.written[..snapshot].last().map_or(0, |last| last.last.0 + 1));
                    let mut below = Rebuild::new(None, at);
                    naive.written[..snapshot].iter().for_each(|span| assert!(below.take(span)));
                    let below = below.finish().snapshot();
                    let below = ProducerSnapshot::parse(&below.print()).expect("printed just now");
                    let mut rebuild = Rebuild::new(Some((at, below)), Offset(naive.end()));
                    naive.written[history..].iter().for_each(|span| assert!(rebuild.take(span)));
                    states = rebuild.finish();
                    if history > 0 {
                        // Less may be known than there was: the model forgets it too, by starting from what is known.
                        for (id, state) in states.iter() {
                            let own = naive.of(id);
                            prop_assert!(!state.window().is_empty() && state.window().len() <= own.len().min(5));
                            prop_assert_eq!(state.window().last().expect("looked at").end, own[0].1.last);
                        }
                        return Ok(());
                    }
                    None
                }
            };
            if let Some((asked, records)) = asked {
                let verdict = match states.judge(asked, records) {
                    Verdict::Follows => Ok(None),
                    Verdict::Repeats(span) => Ok(Some(span.base.0)),
                    Verdict::Refused(error) => Err(error),
                };
                prop_assert_eq!(verdict, naive.judge(asked, records), "{:?} of {}: {:?}", asked, records, states);
                if verdict == Ok(None) {
                    let span = span(asked, naive.end(), records);
                    naive.written.push(span);
                    states.take(&span);
                }
            }
            states.check_invariants();
        }
    }
}
