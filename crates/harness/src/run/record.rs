//! The history while it is made: shared by the loads' clients, which all run on one thread.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::{Offset, TopicPartition};

use crate::history::{History, Latest, LoadInfo, Read, Send, SendOutcome, Value};

use super::timers::Written;
use super::value;

/// A batch of one record without its value: 61 bytes of header, and at most so much around the value.
const BATCH_OVERHEAD: u64 = 61 + 24;

/// How a send ended, as a client's library says.
pub type Outcome = SendOutcome;

/// Shared by the loads.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    history: History,
    /// Sends without an outcome.
    pending: u64,
    /// By partition index: one past the largest acknowledged offset.
    acked_end: Vec<i64>,
    /// By load and partition index: the next offset to read.
    positions: Vec<Vec<i64>>,
    /// By load: whether it rests.
    paused: Vec<bool>,
    ended: bool,
}

impl Recorder {
    /// A history of these loads over these partitions.
    pub fn new(loads: Vec<LoadInfo>, partitions: Vec<TopicPartition>) -> Self {
        let (count, width) = (loads.len(), partitions.len());
        Self(Arc::new(Mutex::new(State {
            history: History { loads, partitions, ..History::default() },
            acked_end: vec![0; width],
            positions: vec![vec![0; width]; count],
            paused: vec![false; count],
            ..State::default()
        })))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A send that is about to be made; returns its id. The partition may be set later.
    pub fn intend(&self, send: Send) -> u64 {
        self.with(|state| {
            let id = state.history.sends.len() as u64;
            state.pending += 1;
            state.history.sends.push(Send { id, ..send });
            id
        })
    }

    /// The send was handed to its client's library at `at_ns`.
    pub fn sent(&self, id: u64, at_ns: u64) {
        self.with(|state| state.history.sends[id as usize].sent_ns = at_ns);
    }

    /// The send ended.
    pub fn done(&self, id: u64, at_ns: u64, outcome: Outcome) {
        self.with(|state| {
            let send = &mut state.history.sends[id as usize];
            assert_eq!(send.outcome, SendOutcome::Unresolved, "send {id} ended twice");
            (send.done_ns, send.outcome) = (at_ns, outcome);
            state.pending -= 1;
            if let Outcome::Ok(offset) = outcome
                && let Some(index) = state.history.partitions.iter().position(|known| *known == send.partition)
            {
                state.acked_end[index] = state.acked_end[index].max(offset.0 + 1);
            }
        });
    }

    /// A consumer returned a record.
    pub fn read(&self, load: u16, client: u16, partition: u32, offset: Offset, bytes: &[u8], at_ns: u64) {
        self.with(|state| {
            let sends = &state.history.sends;
            let value = value::read(bytes, |id| sends.get(usize::try_from(id).ok()?).map(|send| send.size as usize));
            state.history.reads.push(Read { load, client, partition, offset, value, at_ns });
            let position = &mut state.positions[usize::from(load)][partition as usize];
            *position = (*position).max(offset.0 + 1);
        });
    }

    /// The ends that a client was told, in order of time.
    pub fn latest(&self, answers: impl IntoIterator<Item = Latest>) {
        self.with(|state| state.history.latest.extend(answers));
    }

    /// Which send wrote these bytes.
    pub fn value_of(&self, bytes: &[u8]) -> Value {
        self.with(|state| {
            let sends = &state.history.sends;
            value::read(bytes, |id| sends.get(usize::try_from(id).ok()?).map(|send| send.size as usize))
        })
    }

    /// Pauses or resumes a load.
    pub fn set_paused(&self, load: usize, paused: bool) {
        self.with(|state| state.paused[load] = paused);
    }

    /// Whether a load rests.
    pub fn is_paused(&self, load: usize) -> bool {
        self.with(|state| state.paused[load])
    }

    /// No load begins anything any more.
    pub fn end(&self) {
        self.with(|state| state.ended = true);
    }

    /// What the loads may have written until now.
    pub fn written(&self, now_ns: u64) -> Written {
        self.with(|state| {
            let written = state.history.sends.iter().filter(|send| !matches!(send.outcome, SendOutcome::Failed(_)));
            let none = Written { records: 0, bytes: 0, within_ns: now_ns };
            written.fold(none, |sum, send| Written {
                records: sum.records + 1,
                bytes: sum.bytes + u64::from(send.size) + BATCH_OVERHEAD,
                ..sum
            })
        })
    }

    /// Whether the loads have ended.
    pub fn is_ended(&self) -> bool {
        self.with(|state| state.ended)
    }

    /// Sends without an outcome.
    pub fn pending(&self) -> u64 {
        self.with(|state| state.pending)
    }

    /// Records acknowledged and not yet read by the slowest load that consumes, plus sends without an outcome.
    pub fn lag(&self) -> u64 {
        self.with(|state| {
            let mut lag = state.pending;
            for (load, positions) in state.history.loads.iter().zip(&state.positions) {
                if load.produces {
                    continue;
                }
                for ((partition, end), position) in state.history.partitions.iter().zip(&state.acked_end).zip(positions)
                {
                    if partition.topic == load.topic.as_str() {
                        lag += u64::try_from(end - position).unwrap_or(0);
                    }
                }
            }
            lag
        })
    }

    /// The history.
    pub fn take(&self) -> History {
        self.with(|state| std::mem::take(&mut state.history))
    }
}
