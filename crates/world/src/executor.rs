//! The executor, rented from madsim: the only file that names it.
//!
//! Rented: a seeded choice among ready tasks, kill and pause of a node, and the libc shims that catch stray clocks and
//! entropy. Not rented: time. madsim's only timer is the *idle hook*: madsim jumps to it only when no task is ready, and
//! then it moves the world to its next event.
//!
//! A [`Node`] is one process start, never reused: spawns on a madsim node that was restarted are accepted and never run.
//! Every task is wrapped ([`Guarded`]): a panic in its poll or in its destructors ends its process, not the run; the cause
//! of each wake is kept for the next poll; and a task that spins without letting time move is stopped as a livelock.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle, Runtime};
use runtime::TaskHandle;
use runtime::cause::{self, Cause};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How far ahead of madsim's clock the idle hook sleeps. Each poll moves that clock by 50 to 100 ns, so the hook cannot
/// come early before 10 million polls of one instant; [`POLLS_MAX`] ends that first.
const IDLE: Duration = Duration::from_secs(1);
/// Polls within one instant before a task counts as spinning.
const POLLS_MAX: u64 = 1_000_000;
/// madsim remembers each task ever spawned until asked for their number; asked once in so many spawns.
const PRUNE_EVERY: u64 = 4_096;

/// A madsim runtime.
pub(crate) struct Executor {
    runtime: Runtime,
    spawner: Spawner,
}

/// Makes nodes.
#[derive(Clone)]
pub(crate) struct Spawner {
    handle: Handle,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    spawned: AtomicU64,
    /// Tasks whose future is not dropped yet.
    live: AtomicU64,
    /// Polls since time moved last.
    polls: AtomicU64,
}

/// A task panicked.
pub(crate) trait OnPanic: Send + Sync {
    /// Ends the task's process.
    fn panicked(&self, task: &'static str, message: String);
}

impl Executor {
    pub fn new(seed: u64) -> Self {
        install_panic_hook();
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let spawner = Spawner { handle: runtime.handle().clone(), counts: Arc::default() };
        Self { runtime, spawner }
    }

    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Runs `main`; calls `idle` whenever no task is ready. When `main` ends, every task of a killed node is dropped.
    pub fn block_on<F: Future>(&self, idle: impl Fn() + Send + 'static, main: F) -> F::Output {
        let spawner = self.spawner.clone();
        self.runtime.block_on(async move {
            let hook = spawner.handle.create_node().build();
            let counts = Arc::clone(&spawner.counts);
            let live = Live::new(&counts);
            hook.spawn(async move {
                let _live = live;
                loop {
                    madsim::time::sleep(IDLE).await;
                    counts.polls.store(0, Relaxed);
                    idle();
                }
            });
            let output = main.await;
            spawner.handle.kill(hook.id());
            while spawner.counts.live.load(Relaxed) > 0 {
                madsim::task::yield_now().await;
            }
            output
        })
    }
}

impl Spawner {
    pub fn node(&self) -> Node {
        Node { node: self.handle.create_node().build(), spawner: self.clone(), paused: AtomicBool::new(false) }
    }

    /// Tasks that exist.
    pub fn live(&self) -> u64 {
        self.counts.live.load(Relaxed)
    }
}

/// The tasks of one process start.
pub(crate) struct Node {
    node: NodeHandle,
    spawner: Spawner,
    paused: AtomicBool,
}

impl Node {
    pub fn spawn(&self, name: &'static str, future: BoxFuture<()>, on_panic: Arc<dyn OnPanic>) -> TaskHandle {
        let counts = &self.spawner.counts;
        if counts.spawned.fetch_add(1, Relaxed) % PRUNE_EVERY == PRUNE_EVERY - 1 {
            self.spawner.handle.metrics().num_tasks();
        }
        let task = Guarded { future: Some(future), live: Live::new(counts), waker: None, name, on_panic };
        let abort = self.node.spawn(task).abort_handle();
        TaskHandle { abort: Box::new(move || abort.abort()) }
    }

    /// Ends all tasks; their destructors run soon, as tasks do.
    pub fn kill(&self) {
        // madsim drops the parked tasks of a paused node inside `kill`, with its node lock held.
        self.resume();
        self.spawner.handle.kill(self.node.id());
    }

    pub fn pause(&self) {
        if !self.paused.swap(true, Relaxed) {
            self.spawner.handle.pause(self.node.id());
        }
    }

    pub fn resume(&self) {
        if self.paused.swap(false, Relaxed) {
            self.spawner.handle.resume(self.node.id());
        }
    }
}

/// Counts a task while it exists.
struct Live(Arc<Counts>);

impl Live {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.live.fetch_add(1, Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
    }
}

/// A task of a process.
struct Guarded {
    /// `None` once it has ended.
    future: Option<BoxFuture<()>>,
    live: Live,
    waker: Option<(Arc<CauseWaker>, Waker)>,
    name: &'static str,
    on_panic: Arc<dyn OnPanic>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        if this.waker.as_ref().is_none_or(|(waker, _)| !waker.inner.will_wake(cx.waker())) {
            let first = cause::current();
            let waker = Arc::new(CauseWaker { inner: cx.waker().clone(), cause: AtomicU64::new(first.0) });
            this.waker = Some((Arc::clone(&waker), Waker::from(waker)));
        }
        let (waker, to_pass) = this.waker.as_ref().expect("just made");
        let before = cause::set(Cause(waker.cause.swap(0, Relaxed)));
        let spins = this.live.0.polls.fetch_add(1, Relaxed) >= POLLS_MAX;
        let result = quietly(|| {
            assert!(!spins, "livelock: {POLLS_MAX} polls within one instant");
            future.as_mut().poll(&mut Context::from_waker(to_pass))
        });
        cause::set(before);
        match result {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                this.end();
                Poll::Ready(())
            }
            Err(message) => {
                this.live.0.polls.store(0, Relaxed);
                this.on_panic.panicked(this.name, message);
                this.end();
                Poll::Ready(())
            }
        }
    }
}

impl Guarded {
    /// Drops the future; a panic in its destructors ends the process too.
    fn end(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Err(message) = quietly(|| drop(future)) {
            self.on_panic.panicked(self.name, message);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

/// Remembers what woke a task first since its last poll.
struct CauseWaker {
    inner: Waker,
    cause: AtomicU64,
}

impl Wake for CauseWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.cause.load(Relaxed) == 0 {
            self.cause.store(cause::current().0, Relaxed);
        }
        self.inner.wake_by_ref();
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `f`; a panic in it is returned as its message and place, and prints nothing.
pub(crate) fn quietly<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    result.map_err(|payload| LAST_PANIC.take().unwrap_or_else(|| message(&*payload)))
}

/// Wraps the hook that is there, once for all threads: panics of simulated processes are reported by the world, all others
/// as before.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
                LAST_PANIC.set(Some(message(info.payload()) + &place.unwrap_or_default()));
            } else {
                previous(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    }
}
