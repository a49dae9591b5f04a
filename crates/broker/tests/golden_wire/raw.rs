//! A connection that sends bytes as they are.

use std::collections::VecDeque;

use bytes::Bytes;
use runtime::{Address, Env};

/// A connection that sends bytes as they are.
pub struct Raw {
    connection: runtime::Connection,
    pieces: VecDeque<Bytes>,
    read: Vec<u8>,
}

impl Raw {
    pub async fn open(env: &Env, address: &Address) -> Self {
        let connection = env.connect(address.clone()).await.expect("it listens");
        Self { connection, pieces: VecDeque::new(), read: Vec::new() }
    }

    /// Sends bytes without a size.
    pub async fn write(&mut self, bytes: Vec<u8>) -> bool {
        let mut out = VecDeque::from([Bytes::from(bytes)]);
        self.connection.writer.write(&mut out).await.is_ok()
    }

    pub async fn send(&mut self, frame: &[u8]) -> bool {
        let mut bytes = i32::try_from(frame.len()).expect("small").to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.write(bytes).await
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.read.len() >= 4 {
                let size = u32::from_be_bytes([self.read[0], self.read[1], self.read[2], self.read[3]]) as usize;
                if self.read.len() >= 4 + size {
                    let rest = self.read.split_off(4 + size);
                    return Some(std::mem::replace(&mut self.read, rest).split_off(4));
                }
            }
            match self.connection.reader.read(&mut self.pieces, 1 << 16).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => self.read.extend(self.pieces.drain(..).flatten()),
            }
        }
    }
}
