//! One process of the operating system: clocks, tasks, entropy, and the way to its sockets and disks.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use protocol::{Monotonic, Now, Timestamp};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::runtime::{Builder, Handle};

use super::disk::OsDisk;
use super::net;
use super::timer::Sleep;
use crate::disk::RawDisk;
use crate::env::Env;
use crate::net::{Address, Connection, RawListener};
use crate::task::TaskHandle;

/// Threads for what may block: syncs, reads that miss the page cache, name look-ups.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long the end of [`run`] waits for operations that still block.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// A task that ended by a panic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskPanic {
    /// The task's name.
    pub task: &'static str,
    /// What it said.
    pub message: String,
}

type PanicHook = Arc<dyn Fn(&TaskPanic) + Send + Sync>;

/// One start of this process. Must be made and used inside a tokio runtime, which [`run`] provides.
///
/// A panic in a task ends that task only; it is kept in [`Process::panics`] and told to [`Process::on_panic`]'s hook. A
/// server sets a hook that ends the process, so that both arms agree: a panic is a crash.
pub struct Process {
    root: PathBuf,
    started: MonotonicClock,
    /// The key of every stream of random numbers of this start.
    key: [u8; 32],
    runtime: Handle,
    panics: Mutex<Vec<TaskPanic>>,
    on_panic: Mutex<Option<PanicHook>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "os::Process({})", self.root.display())
    }
}

/// Builds a runtime, runs `main` on it, and ends all that is left when `main` returns. Disks are directories below `root`.
/// Random numbers come from the system's entropy unless there is a seed.
///
/// # Panics
/// If the runtime cannot be built (no threads or descriptors left), or if called inside another runtime.
pub fn run<F, Fut>(root: impl Into<PathBuf>, seed: Option<u64>, main: F) -> Fut::Output
where
    F: FnOnce(Env) -> Fut,
    Fut: Future,
{
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("wavetank")
        .build()
        .expect("threads and descriptors for a runtime");
    let output = runtime.block_on(async { main(Env::os(root, seed)).await });
    runtime.shutdown_timeout(SHUTDOWN_WAIT);
    output
}

impl Process {
    /// A process start whose disks lie below `root`. Random numbers come from the system's entropy unless there is a seed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(root: impl Into<PathBuf>, seed: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            root: root.into(),
            started: MonotonicClock::start(),
            key: key(seed),
            runtime: Handle::current(),
            panics: Mutex::new(Vec::new()),
            on_panic: Mutex::new(None),
        })
    }

    /// Calls `hook` after each panic of a task, on the task's thread.
    pub fn on_panic(&self, hook: impl Fn(&TaskPanic) + Send + Sync + 'static) {
        *lock(&self.on_panic) = Some(Arc::new(hook));
    }

    /// The tasks that panicked so far.
    pub fn panics(&self) -> Vec<TaskPanic> {
        lock(&self.panics).clone()
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.started.now(), wall: wall() }
    }

    pub(crate) fn sleep_until(&self, at: Monotonic) -> Sleep {
        Sleep(self.started.instant(at).map(|instant| Box::pin(tokio::time::sleep_until(instant))))
    }

    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> TaskHandle {
        let process = Arc::clone(self);
        let task = self.runtime.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                process.panicked(TaskPanic { task: name, message: message(panic.as_ref()) });
            }
        });
        let task = task.abort_handle();
        TaskHandle { abort: Box::new(move || task.abort()) }
    }

    pub(crate) async fn connect(&self, to: Address) -> io::Result<Connection> {
        net::connect(&to).await
    }

    pub(crate) async fn listen(&self, at: Address) -> io::Result<Box<dyn RawListener>> {
        net::listen(&at).await
    }

    /// The directory `dir` below the root (or anywhere, if it is absolute); made if it is not there.
    pub(crate) fn disk(&self, dir: &str) -> Arc<dyn RawDisk> {
        OsDisk::open(self.root.join(dir), self.runtime.clone())
    }

    pub(crate) fn rng(&self, purpose: &str) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(fnv1a(purpose.as_bytes()));
        rng
    }

    fn panicked(&self, panic: TaskPanic) {
        lock(&self.panics).push(panic.clone());
        let hook = lock(&self.on_panic).clone();
        if let Some(hook) = hook {
            hook(&panic);
        }
    }
}

impl Env {
    /// The operating system's arm; see [`Process::new`].
    pub fn os(root: impl Into<PathBuf>, seed: Option<u64>) -> Self {
        Self::Os(Process::new(root, seed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// 256 bits: of the seed, or of the entropy that the standard library takes from the system for its hashers.
fn key(seed: Option<u64>) -> [u8; 32] {
    if let Some(seed) = seed {
        return ChaCha8Rng::seed_from_u64(seed).get_seed();
    }
    let mut key = [0; 32];
    for (index, part) in key.chunks_exact_mut(8).enumerate() {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_usize(index);
        part.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    key
}

/// FNV-1a, 64 bits: the number of a purpose's stream, the same in every build.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

use clock::{MonotonicClock, wall};

#[expect(clippy::disallowed_types, reason = "this is where the seam's clocks come from")]
mod clock {
    use super::{Duration, Monotonic, Timestamp};
    use std::time::{Instant, SystemTime};

    /// The system's monotonic clock, from the process's start.
    pub(super) struct MonotonicClock(Instant);

    impl MonotonicClock {
        pub(super) fn start() -> Self {
            Self(Instant::now())
        }

        pub(super) fn now(&self) -> Monotonic {
            Monotonic::default() + self.0.elapsed()
        }

        /// `None` if the time never comes.
        pub(super) fn instant(&self, at: Monotonic) -> Option<tokio::time::Instant> {
            if at == Monotonic::NEVER {
                return None;
            }
            self.0.checked_add(Duration::from_nanos(at.0)).map(tokio::time::Instant::from_std)
        }
    }

    /// The system's wall clock; the epoch if it stands before it.
    pub(super) fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
