//! A fresh send to every partition, acks=all, again and again until it is acknowledged: what clients need from a cluster
//! that got well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Acks, Outcome, Producer, ProducerRecord};
use protocol::TopicPartition;
use runtime::Env;

use crate::history::{Send, SendOutcome};
use crate::scenario::Scenario;

use super::record::Recorder;
use super::{brokers, load, value};

/// Bytes of a value.
const SIZE: usize = 64;

/// How the last send to a partition ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Waiting,
    Acknowledged,
    Failed(String),
}

type Answers = Arc<Mutex<BTreeMap<u64, Answer>>>;

/// See the module.
pub struct Fresh {
    env: Env,
    producer: Producer,
    recorder: Recorder,
    load: u16,
    answers: Answers,
    /// The last send to each.
    sends: BTreeMap<TopicPartition, u64>,
}

impl Fresh {
    /// A producer of its own; nothing is sent yet. `load` is the index in the history under which its sends are written
    /// down. A send is given up after `patience`.
    pub fn new(env: &Env, scenario: &Scenario, recorder: &Recorder, load: u16, patience: Duration) -> Self {
        let mut config = load::config(scenario, "core", brokers::bootstrap(scenario));
        config.acks = Acks::All;
        config.linger = Duration::ZERO;
        config.delivery_timeout = patience;
        let answers = Answers::default();
        let producer = Producer::with_sink(env, config, {
            let (answers, recorder) = (Arc::clone(&answers), recorder.clone());
            move |delivered| {
                let (outcome, answer) = match &delivered.outcome {
                    Outcome::Ok { offset, .. } => (SendOutcome::Ok(*offset), Answer::Acknowledged),
                    Outcome::Failed { error } => {
                        (SendOutcome::Failed(load::code(error)), Answer::Failed(error.to_string()))
                    }
                    Outcome::Unknown { error } => {
                        (SendOutcome::Unknown(load::code(error)), Answer::Failed(error.to_string()))
                    }
                };
                recorder.done(delivered.tag, delivered.done.0, outcome);
                answers.lock().unwrap_or_else(PoisonError::into_inner).insert(delivered.tag, answer);
            }
        });
        Self { env: env.clone(), producer, recorder: recorder.clone(), load, answers, sends: BTreeMap::new() }
    }

    fn answer(&self, partition: &TopicPartition) -> Option<Answer> {
        let id = self.sends.get(partition)?;
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Whether a send to this partition was acknowledged.
    pub fn is_acknowledged(&self, partition: &TopicPartition) -> bool {
        self.answer(partition) == Some(Answer::Acknowledged)
    }

    /// Why the last send to this partition failed, if it did.
    pub fn failure(&self, partition: &TopicPartition) -> Option<String> {
        match self.answer(partition) {
            Some(Answer::Failed(why)) => Some(why),
            _ => None,
        }
    }

    /// Sends to a partition unless a send is on its way or was acknowledged.
    pub fn send(&mut self, partition: &TopicPartition) {
        if matches!(self.answer(partition), Some(Answer::Waiting | Answer::Acknowledged)) {
            return;
        }
        let now = self.env.now().mono.0;
        let id = self.recorder.intend(Send {
            id: 0,
            load: self.load,
            client: 0,
            partition: partition.clone(),
            intended_ns: now,
            sent_ns: now,
            done_ns: u64::MAX,
            acks: -1,
            size: SIZE as u32,
            outcome: SendOutcome::Unresolved,
        });
        self.sends.insert(partition.clone(), id);
        let record = ProducerRecord::new(partition.topic.clone(), value::make(id, SIZE)).to(partition.partition);
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Answer::Waiting);
        if let Err(error) = self.producer.submit(record, id) {
            self.recorder.done(id, now, SendOutcome::Failed(load::code(&error)));
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Answer::Failed(error.to_string()));
        }
    }
}
