//! What the tests share: two hosts, an echo server, reading so many bytes.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Address, Chunks, Connection, Env};
use world::{HostId, Time, World};

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000_000_000;

/// Reads `len` bytes, fewer at the end of the stream.
pub async fn read(connection: &mut Connection, len: usize) -> io::Result<Vec<u8>> {
    let (mut list, mut got) = (VecDeque::new(), 0);
    while got < len {
        let n = connection.reader.read(&mut list, len - got).await?;
        if n == 0 {
            break;
        }
        got += n;
    }
    Ok(list.into_iter().collect::<Chunks>().to_vec())
}

pub async fn write(connection: &mut Connection, bytes: &'static [u8]) -> io::Result<()> {
    connection.writer.write_chunks(Bytes::from_static(bytes).into()).await
}

pub fn zeros(len: usize) -> Chunks {
    Bytes::from(vec![0; len]).into()
}

/// Answers every connection with what it sends, until it ends.
pub async fn echo(env: Env, port: u16) {
    let mut listener = env.listen(Address::new("", port)).await.expect("a free port");
    while let Ok(mut connection) = listener.accept().await {
        env.spawn_detached("echo", async move {
            let mut list = VecDeque::new();
            while let Ok(1..) = connection.reader.read(&mut list, 1 << 20).await {
                if connection.writer.write(&mut list).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Two hosts with a connection between them, 100 us apart.
pub struct Pair {
    pub world: World,
    pub a: HostId,
    pub b: HostId,
    pub client: Env,
    pub server: Env,
    /// At `a`.
    pub near: Connection,
    /// At `b`.
    pub far: Connection,
}

impl Pair {
    pub async fn new(world: &World) -> Self {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (client, server) = (world.start(a), world.start(b));
        let mut listener = server.listen(Address::new("", 9092)).await.expect("a free port");
        let near = client.connect(Address::new("b", 9092)).await.expect("b listens");
        let far = listener.accept().await.expect("a has connected");
        server.spawn_detached("listener", async move {
            drop(listener.accept().await);
            std::future::pending().await
        });
        Self { world: world.clone(), a, b, client, server, near, far }
    }

    /// Waits until the world's time is `at` seconds.
    pub async fn until(&self, at: f64) {
        self.world.sleep_until(seconds(at)).await;
    }
}

pub fn seconds(at: f64) -> Time {
    Time::ZERO + Duration::from_nanos((at * 1e9).round() as u64)
}
