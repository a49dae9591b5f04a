//! C-ORD: what one producer sends to one partition and is acknowledged lies there in the order in which it was sent.
//!
//! Promised to a producer with one request in flight, and to an idempotent one with up to five. Judged are the acknowledged
//! offsets: a request that got stuck on a connection which was given up may be appended once more, later, and unknown
//! outcomes may lie anywhere. Black-box.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Offset, TopicPartition};

use super::acknowledged::legally_lost;
use super::tally::Tally;
use super::{Checker, Judgement, RunEnd, Violation};
use crate::event::grouped;
use crate::history::{LoadInfo, Send, SendOutcome, Value};

/// See the module.
#[derive(Default)]
pub struct ProducerOrder;

/// Whether a load's producers are promised an order.
fn ordered(load: &LoadInfo) -> bool {
    load.produces && (load.in_flight == 1 || load.idempotent && load.in_flight <= 5)
}

type Session<'a> = (u16, u16, &'a TopicPartition);

fn session(send: &Send) -> Session<'_> {
    (send.load, send.client, &send.partition)
}

impl Checker for ProducerOrder {
    fn id(&self) -> &'static str {
        "C-ORD"
    }

    fn slug(&self) -> &'static str {
        "producer-order"
    }

    fn unit(&self) -> &'static str {
        "acknowledged records"
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let promised: Vec<bool> = run.history.loads.iter().map(ordered).collect();
        let sends = || {
            let of = |send: &&Send| promised.get(usize::from(send.load)).copied().unwrap_or(false);
            run.history.sends.iter().filter(of).filter_map(|send| match send.outcome {
                SendOutcome::Ok(offset) if offset >= Offset::ZERO => Some((send, offset)),
                _ => None,
            })
        };
        let mut tally = Tally::default();
        let mut last: BTreeMap<Session<'_>, Offset> = BTreeMap::new();
        let mut suspects = BTreeSet::new();
        for (send, offset) in sends() {
            tally.judged += 1;
            if last.insert(session(send), offset).is_some_and(|before| before >= offset) {
                suspects.insert(session(send));
            }
        }
        // What was lost (C-ACK and C-ACK1 say whether it might be) has no place in any order.
        let is_there = |send: &Send, offset: Offset| match run
            .read_back
            .partitions
            .get(&send.partition)
            .filter(|read| read.incomplete.is_none())
        {
            Some(read) => offset < read.start || read.at(offset) == Some(Value::Of(send.id)),
            None => send.acks == -1 && !legally_lost(run, &send.partition, offset),
        };
        let mut last: BTreeMap<Session<'_>, (&Send, Offset)> = BTreeMap::new();
        if !suspects.is_empty() {
            for (send, offset) in sends().filter(|(send, _)| suspects.contains(&session(send))) {
                if !is_there(send, offset) {
                    continue;
                }
                if let Some((first, before)) = last.insert(session(send), (send, offset))
                    && before >= offset
                {
                    tally.breach(|| tell(run, (first, before), (send, offset)));
                }
            }
        }
        tally.verdict("no producer with a promise of order was acknowledged anything")
    }
}

fn tell(run: &RunEnd, first: (&Send, Offset), then: (&Send, Offset)) -> Violation {
    let line = |(send, offset): (&Send, Offset)| {
        format!("at {:.3}s, acknowledged at offset {}", send.sent_ns as f64 / 1e9, grouped(offset.0))
    };
    let mut violation = Violation::new("records of one producer lie in another order than they were sent in")
        .with("producer", format!("{} to {}", run.history.client(first.0.load, first.0.client), first.0.partition))
        .with("first sent", line(first))
        .with("then sent", line(then));
    violation.partition = Some(first.0.partition.clone());
    violation.at_ns = Some(then.0.done_ns);
    violation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Keep;
    use crate::checker::tests::{Told, orders};
    use crate::history::PartitionRead;

    fn judge(offsets: &[i64], change: impl FnOnce(&mut Told)) -> Option<String> {
        let mut told = Told::new(Keep::Committed);
        for (id, offset) in (0..).zip(offsets) {
            told.acknowledged(id, *offset);
        }
        change(&mut told);
        told.claim("C-ORD")
    }

    const BROKEN: Option<&str> = Some("records of one producer lie in another order than they were sent in");

    #[test]
    fn offsets_that_rise_are_in_order_and_others_are_not() {
        assert_eq!(judge(&[0, 1, 5], |_| {}), None);
        assert_eq!(judge(&[0, 2, 1], |_| {}).as_deref(), BROKEN);
        assert_eq!(judge(&[0, 1, 1], |_| {}).as_deref(), BROKEN);
    }

    #[test]
    fn two_producers_and_unknown_outcomes_have_no_order() {
        assert_eq!(judge(&[1, 0], |told| told.run.history.sends[1].client = 1), None);
        let unknown = |told: &mut Told| told.run.history.sends[1].outcome = SendOutcome::Unknown(7);
        assert_eq!(judge(&[0, 5, 1], unknown), None);
    }

    #[test]
    fn several_requests_in_flight_promise_no_order_without_idempotence() {
        let promise = |in_flight, idempotent| {
            judge(&[1, 0], |told| {
                (told.run.history.loads[0].in_flight, told.run.history.loads[0].idempotent) = (in_flight, idempotent);
            })
        };
        assert_eq!(promise(2, false), None);
        assert_eq!(promise(5, true).as_deref(), BROKEN);
        assert_eq!(promise(6, true), None);
    }

    #[test]
    fn what_was_lost_has_no_place_in_the_order() {
        let read = |values: Vec<(Offset, Value)>| {
            move |told: &mut Told| {
                let (start, end) = (Offset(0), Offset(3));
                let read = PartitionRead { start, end, records: values, incomplete: None };
                told.run.read_back.partitions.insert(orders(), read);
            }
        };
        // Send 1 was acknowledged at 2 and lost; 2 and 3 were then written at 1 and 2.
        let records = vec![(Offset(0), Value::Of(0)), (Offset(1), Value::Of(2)), (Offset(2), Value::Of(3))];
        assert_eq!(judge(&[0, 2, 1, 2], read(records)), None);
        let records = vec![(Offset(0), Value::Of(0)), (Offset(1), Value::Of(2)), (Offset(2), Value::Of(1))];
        assert_eq!(judge(&[0, 2, 1], read(records)).as_deref(), BROKEN);
    }
}
