//! The two arms, and the macro that makes two tests of one body.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Address, Chunks, Connection, Disk, Env, Listener, ReadHalf, os};
use world::{End, World};

/// Two processes that can reach each other: on two simulated hosts, or one and the same of the operating system.
#[derive(Clone)]
pub struct Arm {
    /// Connects.
    pub a: Env,
    /// Listens.
    pub b: Env,
    /// What `a` calls `b`'s machine.
    pub b_host: &'static str,
    /// In the world, the world.
    pub world: Option<World>,
    /// On the operating system, the directory of all disks.
    pub root: std::path::PathBuf,
}

impl Arm {
    /// A fresh disk.
    pub fn disk(&self) -> Disk {
        self.a.disk("data")
    }

    /// A listener at a port that `b` chooses.
    pub async fn listen(&self) -> Listener {
        self.b.listen(Address::new(self.b_host, 0)).await.expect("a free port")
    }

    /// Where `a` reaches this listener.
    pub fn at(&self, listener: &Listener) -> Address {
        Address::new(self.b_host, listener.local().port)
    }

    /// Both ends of a connection.
    pub async fn pair(&self) -> (Connection, Connection) {
        let mut listener = self.listen().await;
        let client = self.a.connect(self.at(&listener)).await.expect("somebody listens");
        (client, listener.accept().await.expect("somebody connected"))
    }

    /// Lets all that is on its way arrive. A test that relies on more than "probably" on the operating system is wrong:
    /// this may only make a wrong implementation fail more often.
    pub async fn settle(&self) {
        self.a.sleep(Duration::from_millis(20)).await;
    }
}

pub fn on_the_os<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Arm) -> F) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().to_owned();
    os::run(root.path(), Some(1), |env| async move {
        let arm = Arm { a: env.clone(), b: env.clone(), b_host: "127.0.0.1", world: None, root: path };
        let body = env.spawn("body", body(arm));
        let outcome = env.timeout(Duration::from_secs(60), body.join()).await.expect("an end within a minute");
        outcome.expect("the body ends well");
    });
}

pub fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Arm) -> F) {
    World::run(1, |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let arm =
            Arm { a: world.start(a), b: world.start(b), b_host: "b", world: Some(world.clone()), root: "".into() };
        let body = arm.a.clone().spawn("body", body(arm));
        if body.join().await.is_none() {
            match world.ended(a).await {
                End::Panicked { message, .. } => panic!("{message}"),
                end => panic!("{end:?}"),
            }
        }
    });
}

/// Two tests of each body: `os` and `sim`.
#[macro_export]
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($arm:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a few bodies need nothing")]
            use super::*;

            $(#[$doc])*
            async fn body($arm: $crate::arm::Arm) $body

            #[test]
            fn os() {
                $crate::arm::on_the_os(body);
            }

            #[test]
            fn sim() {
                $crate::arm::in_the_world(body);
            }
        }
    )*};
}

pub fn text(text: &str) -> Chunks {
    Bytes::copy_from_slice(text.as_bytes()).into()
}

/// Reads to the end of the stream.
pub async fn read_to_end(reader: &mut ReadHalf) -> Vec<u8> {
    let mut list = VecDeque::new();
    while reader.read(&mut list, 1 << 20).await.expect("no error before the end") > 0 {}
    list.into_iter().collect::<Chunks>().to_vec()
}

/// Reads exactly `len` bytes.
pub async fn read_exactly(reader: &mut ReadHalf, len: usize) -> Vec<u8> {
    let (mut list, mut missing) = (VecDeque::new(), len);
    while missing > 0 {
        match reader.read(&mut list, missing).await.expect("no error before the end") {
            0 => panic!("the stream ended {missing} bytes early"),
            read => missing -= read,
        }
    }
    list.into_iter().collect::<Chunks>().to_vec()
}

/// Bytes that tell their position.
pub fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
