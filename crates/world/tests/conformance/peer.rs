//! Another process that can be killed and stopped: on the operating system a child of the test, in the world a host's.
//!
//! It listens and does to each connection what its first byte says ([`program`]).

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use runtime::{Address, Connection, Env, OpenMode, os};
use world::{End, FaultId, HostId, ProcessFault, World};

use crate::arm::{read_exactly, text};

/// Sends back what comes.
pub const ECHO: &str = "e";
/// Sends a byte every 20 ms.
pub const TICK: &str = "t";
/// Writes a file, does not sync it, and says so with one byte.
pub const WRITE: &str = "w";
/// Panics in a task.
pub const PANIC: &str = "p";
/// Reads no further byte.
pub const DEAF: &str = "d";

/// What [`WRITE`] writes, to the file `unsynced` of the disk `data`.
pub const WRITTEN: &str = "never synced";

/// The process.
pub async fn program(env: Env, at: Address, tell: impl FnOnce(u16)) {
    let mut listener = env.listen(at).await.expect("a free port");
    tell(listener.local().port);
    while let Ok(connection) = listener.accept().await {
        let own = env.clone();
        env.spawn_detached("connection", async move { serve(&own, connection).await });
    }
}

async fn serve(env: &Env, mut connection: Connection) {
    let command = read_exactly(&mut connection.reader, 1).await;
    match std::str::from_utf8(&command).expect("a command") {
        ECHO => {
            let mut list = std::collections::VecDeque::new();
            while connection.reader.read(&mut list, 1 << 16).await.is_ok_and(|read| read > 0) {
                if connection.writer.write(&mut list).await.is_err() {
                    return;
                }
            }
        }
        TICK => {
            while connection.writer.write_chunks(text(".")).await.is_ok() {
                env.sleep(Duration::from_millis(20)).await;
            }
        }
        WRITE => {
            let disk = env.disk("data");
            let file = disk.open("unsynced", OpenMode::Create).await.expect("a file");
            disk.append(&file, text(WRITTEN)).await.expect("room");
            connection.writer.write_chunks(text("w")).await.expect("somebody waits");
            std::future::pending().await
        }
        PANIC => panic!("as told"),
        _ => std::future::pending().await,
    }
}

/// The other process, seen from this one.
pub struct Peer {
    pub env: Env,
    pub address: Address,
    kind: Kind,
}

enum Kind {
    World { world: World, host: HostId, stops: Mutex<Vec<FaultId>> },
    Os { child: Mutex<Child>, root: PathBuf },
}

impl Peer {
    /// In the world, the world.
    pub fn world(&self) -> Option<&World> {
        match &self.kind {
            Kind::World { world, .. } => Some(world),
            Kind::Os { .. } => None,
        }
    }

    /// A connection that was told `command`.
    pub async fn told(&self, command: &str) -> Connection {
        let mut connection = self.env.connect(self.address.clone()).await.expect("it listens");
        connection.writer.write_chunks(text(command)).await.expect("it is connected");
        connection
    }

    /// SIGKILL.
    pub fn kill(&self) {
        match &self.kind {
            Kind::World { world, host, .. } => drop(world.apply(ProcessFault::Kill(*host))),
            Kind::Os { child, .. } => child.lock().expect("one thread").kill().expect("it runs"),
        }
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        match &self.kind {
            Kind::World { world, host, stops } => {
                stops.lock().expect("one thread").push(world.apply(ProcessFault::Pause(*host)));
            }
            Kind::Os { .. } => self.signal("-STOP"),
        }
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        match &self.kind {
            Kind::World { world, stops, .. } => {
                stops.lock().expect("one thread").drain(..).for_each(|stop| world.heal(stop));
            }
            Kind::Os { .. } => self.signal("-CONT"),
        }
    }

    /// Waits until the process is no more; whether it crashed.
    pub async fn ended(&self) -> bool {
        match &self.kind {
            Kind::World { world, host, .. } => matches!(world.ended(*host).await, End::Panicked { .. }),
            Kind::Os { child, .. } => loop {
                if let Some(status) = child.lock().expect("one thread").try_wait().expect("it is our child") {
                    break status.code() == Some(CRASHED);
                }
                self.env.sleep(Duration::from_millis(5)).await;
            },
        }
    }

    /// What its disk has, seen by the next process there.
    pub async fn disk_of_the_next(&self) -> runtime::Disk {
        match &self.kind {
            Kind::World { world, host, .. } => world.start(*host).disk("data"),
            Kind::Os { root, .. } => Env::os(root.clone(), None).disk("data"),
        }
    }

    fn signal(&self, signal: &str) {
        if let Kind::Os { child, .. } = &self.kind {
            let id = child.lock().expect("one thread").id().to_string();
            let status = Command::new("kill").args([signal, &id]).status().expect("kill(1)");
            assert!(status.success(), "kill {signal} {id}");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Kind::Os { child, .. } = &self.kind {
            let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The exit code of a process that ended by a panic.
const CRASHED: i32 = 101;
const ROOT: &str = "WAVETANK_TEST_PEER";

/// Not a test: what the child runs.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    os::run(PathBuf::from(root), Some(2), |env| async move {
        // As every server does: a panic is a crash.
        if let Env::Os(process) = &env {
            process.on_panic(|_| std::process::exit(CRASHED));
        }
        let own = env.clone();
        let main = env.spawn("main", async move {
            program(own, Address::new("127.0.0.1", 0), |port| {
                use std::io::Write;
                writeln!(std::io::stdout(), "\nport {port}").expect("somebody reads");
            })
            .await;
        });
        main.join().await;
    });
}

pub fn on_the_os<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Peer) -> F) {
    let roots = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "peer::child", "--nocapture", "--test-threads=1"])
        .env(ROOT, roots[1].path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child process");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let port = output
        .lines()
        .map(|line| line.expect("text"))
        .find_map(|line| line.strip_prefix("port ").map(|port| port.parse().expect("a port")))
        .expect("the child tells its port");
    let root = roots[1].path().to_owned();
    os::run(roots[0].path(), Some(1), |env| async move {
        let kind = Kind::Os { child: Mutex::new(child), root };
        let peer = Peer { env: env.clone(), address: Address::new("127.0.0.1", port), kind };
        let body = env.spawn("body", body(peer));
        let outcome = env.timeout(Duration::from_secs(60), body.join()).await;
        outcome.expect("an end within a minute").expect("the body ends well");
    });
}

pub fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Peer) -> F) {
    World::run(1, |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (near, far) = (world.start(a), world.start(b));
        far.spawn_detached("main", program(far.clone(), Address::new("", 9000), |_| ()));
        let kind = Kind::World { world: world.clone(), host: b, stops: Mutex::default() };
        // Lets it listen.
        near.sleep(Duration::from_millis(1)).await;
        let peer = Peer { env: near.clone(), address: Address::new("b", 9000), kind };
        let body = near.spawn("body", body(peer));
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
macro_rules! with_a_peer {
    ($($(#[$doc:meta])* async fn $name:ident($peer:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a few bodies need nothing")]
            use super::*;

            $(#[$doc])*
            async fn body($peer: $crate::peer::Peer) $body

            #[test]
            fn os() {
                $crate::peer::on_the_os(body);
            }

            #[test]
            fn sim() {
                $crate::peer::in_the_world(body);
            }
        }
    )*};
}
