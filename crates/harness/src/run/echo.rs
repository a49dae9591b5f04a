//! The echo load: a process on one host sends, a process on another sends back. The smallest load that faults can hurt.
//!
//! A message is its length, the number of its send and filler. Answers come in order on a connection; when one does not come
//! in time the connection is dropped and made anew, and everything in flight on it is of unknown outcome.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::{Offset, TopicPartition};
use runtime::{Address, Connection, Env};

use crate::history::{Send, SendOutcome};
use crate::scenario::Pace;

use super::record::Recorder;
use super::schedule::Schedule;

/// The port of echo servers.
pub const PORT: u16 = 7;

/// Serves echoes until the process ends.
pub async fn serve(env: Env) {
    let Ok(mut listener) = env.listen(Address::new("", PORT)).await else { return };
    while let Ok(mut connection) = listener.accept().await {
        env.spawn_detached("echo", async move {
            let mut list = VecDeque::new();
            while let Ok(n) = connection.reader.read(&mut list, 1 << 16).await {
                if n == 0 || connection.writer.write(&mut list).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// One client of an echo load.
pub struct Echo {
    /// Index of the load.
    pub load: u16,
    /// Its number.
    pub client: u16,
    /// The name of the load's one "partition".
    pub partition: TopicPartition,
    /// The host that answers.
    pub to: String,
    /// How much.
    pub pace: Pace,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Echo {
    /// Sends by the schedule until the loads end. One request in flight: what the schedule wants meanwhile waits, and its
    /// latency counts from when it was wanted.
    pub async fn run(self, env: Env, recorder: Recorder, mut schedule: Schedule) {
        let mut connection: Option<Connection> = None;
        while let Some(intended) = schedule.due(&env, &recorder, usize::from(self.load)).await {
            let id = recorder.intend(Send {
                id: 0,
                load: self.load,
                client: self.client,
                partition: self.partition.clone(),
                intended_ns: intended,
                sent_ns: env.now().mono.0,
                done_ns: u64::MAX,
                acks: 1,
                size: u32::try_from(self.pace.record).unwrap_or(u32::MAX),
                outcome: SendOutcome::Unresolved,
            });
            let message = message(id, self.pace.record);
            let outcome = match env.timeout(self.timeout, self.exchange(&env, &mut connection, message)).await {
                Ok(true) => SendOutcome::Ok(Offset(i64::try_from(id).unwrap_or(i64::MAX))),
                Ok(false) => SendOutcome::Unknown(-1),
                Err(_) => SendOutcome::Unknown(7),
            };
            if !matches!(outcome, SendOutcome::Ok(_)) {
                connection = None;
            }
            recorder.done(id, env.now().mono.0, outcome);
        }
    }

    /// Sends a message and waits until it has come back whole.
    async fn exchange(&self, env: &Env, connection: &mut Option<Connection>, message: Bytes) -> bool {
        if connection.is_none() {
            match env.connect(Address::new(self.to.as_str(), PORT)).await {
                Ok(made) => *connection = Some(made),
                Err(_) => return false,
            }
        }
        let Some(open) = connection.as_mut() else { return false };
        if open.writer.write_chunks(message.clone().into()).await.is_err() {
            return false;
        }
        let mut got: VecDeque<Bytes> = VecDeque::new();
        let mut have = 0;
        while have < message.len() {
            match open.reader.read(&mut got, message.len() - have).await {
                Ok(0) | Err(_) => return false,
                Ok(n) => have += n,
            }
        }
        let back: protocol::Chunks = got.into_iter().collect();
        back.into_contiguous() == message
    }
}

fn message(id: u64, size: u64) -> Bytes {
    let size = usize::try_from(size).unwrap_or(16).max(16);
    let mut out = BytesMut::with_capacity(size);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u64(id);
    out.resize(size, 0x2e);
    out.freeze()
}
