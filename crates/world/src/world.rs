//! The handle of a world.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Poll, Waker};
use std::time::Duration;

use protocol::Chunks;
use rand_chacha::ChaCha8Rng;
use runtime::{Env, Observation, cause, cause::Cause};

use crate::clock::{ClockSetting, HostClock};
use crate::disk::{Damage, Device, DiskProfile};
use crate::event::Event;
use crate::executor::{Executor, Spawner, quietly};
use crate::heap::Heap;
use crate::inner::{Counters, End, HostId, HostState, Inner, Kind, Out, RunningProcess, Stop};
use crate::net::{LinkProfile, Net, TcpProfile};
use crate::process::Process;
use crate::streams::Streams;
use crate::time::Time;
use crate::trace::{Checkpoint, Recorded, Trace, TraceHash};

/// What a world is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Every link, unless [`World::set_link`] says otherwise.
    pub link: LinkProfile,
    /// TCP of every host.
    pub tcp: TcpProfile,
    /// Every disk, unless [`World::set_disk`] says otherwise.
    pub disk: DiskProfile,
}

/// Nothing is left to happen, and yet the run has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no event left at {at}s: {tasks} tasks wait for what will never come")]
pub struct Stalled {
    /// When.
    pub at: Time,
    /// Tasks that wait, the idle hook included.
    pub tasks: u64,
}

/// A world. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Shared>);

type Subscriber = Box<dyn FnMut(&Event) + Send>;

struct Shared {
    inner: Mutex<Inner>,
    /// A copy of `Inner::now` that needs no lock.
    now: AtomicU64,
    spawner: Spawner,
    subscribers: Mutex<Vec<Subscriber>>,
    /// Events that subscribers caused while they were shown others.
    later: Mutex<Vec<Event>>,
    has_later: AtomicBool,
    stalled: AtomicBool,
    main: Mutex<Option<Waker>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({:?})", self.now())
    }
}

impl World {
    /// Runs `f` beside a world of default configuration, until it ends; then ends every process.
    ///
    /// # Panics
    /// If `f` panics; if nothing is left to happen before `f` ends ([`Stalled`]); if the thread has entered a tokio
    /// runtime (whose timers would end at once, in silence).
    pub fn run<F: Future>(seed: u64, f: impl FnOnce(Self) -> F) -> F::Output {
        Self::run_with(seed, Config::default(), f).unwrap_or_else(|stalled| panic!("{stalled}"))
    }

    /// As [`World::run`], with a configuration and with [`Stalled`] as a value.
    pub fn run_with<F: Future>(seed: u64, config: Config, f: impl FnOnce(Self) -> F) -> Result<F::Output, Stalled> {
        assert!(
            tokio::runtime::Handle::try_current().is_err(),
            "a world must not run inside a tokio runtime: its timers would end at once"
        );
        let streams = Streams { seed };
        let executor = Executor::new(rand::Rng::next_u64(&mut streams.get("scheduler")));
        let world = Self::new(streams, config, executor.spawner());
        let hook = world.clone();
        let main = async {
            let mut future = pin!(catching(f(world.clone())));
            let output = poll_fn(|cx| {
                *world.0.main.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
                if world.0.stalled.load(Relaxed) {
                    return Poll::Ready(Err(Stalled { at: world.now(), tasks: world.0.spawner.live() }));
                }
                future.as_mut().poll(cx).map(Ok)
            })
            .await;
            world.end_all();
            output
        };
        let output = executor.block_on(move || hook.idle(), main);
        world.clear();
        match output {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(stalled) => Err(stalled),
        }
    }

    fn new(streams: Streams, config: Config, spawner: Spawner) -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::new(Inner {
                now: 0,
                heap: Heap::default(),
                hosts: Vec::new(),
                by_name: std::collections::BTreeMap::new(),
                net: Net::new(config.link, config.tcp),
                faults: crate::fault::Faults::default(),
                streams,
                trace: Trace::new(streams.seed),
                counters: Counters::default(),
                out: Out::default(),
                observed: false,
                disk_profile: config.disk,
                current: 0,
            }),
            now: AtomicU64::new(0),
            spawner,
            subscribers: Mutex::default(),
            later: Mutex::default(),
            has_later: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            main: Mutex::default(),
        }))
    }

    /// Adds a machine. Names are what addresses and random streams go by.
    ///
    /// # Panics
    /// If there is one of that name.
    pub fn add_host(&self, name: &str) -> HostId {
        self.with(|inner| {
            let host = HostId(inner.hosts.len() as u32);
            let name: Arc<str> = name.into();
            let before = inner.by_name.insert(Arc::clone(&name), host);
            assert!(before.is_none(), "there is a host {name} already");
            inner.hosts.push(HostState {
                name,
                up: true,
                starts: 0,
                process: None,
                last_end: None,
                end_waiters: Vec::new(),
                clock: Arc::new(HostClock::new()),
                clock_setting: ClockSetting::default(),
                net: crate::net::HostNet::default(),
                devices: std::collections::BTreeMap::new(),
                paused: 0,
                crash_points: Vec::new(),
                parked: Vec::new(),
            });
            host
        })
    }

    /// The machine of that name.
    pub fn host(&self, name: &str) -> Option<HostId> {
        self.with(|inner| inner.by_name.get(name).copied())
    }

    /// The machine's name.
    pub fn name(&self, host: HostId) -> Arc<str> {
        self.with(|inner| Arc::clone(&inner.host(host).name))
    }

    /// Starts a process on `host`, switching the machine on if need be.
    ///
    /// # Panics
    /// If one runs there.
    pub fn start(&self, host: HostId) -> Env {
        let process = self.with(|inner| {
            let node = Arc::new(self.0.spawner.node());
            let state = inner.host_mut(host);
            assert!(state.process.is_none(), "a process runs on {} already", state.name);
            state.up = true;
            state.starts += 1;
            let armed = Arc::new(AtomicBool::new(!state.crash_points.is_empty()));
            let running = RunningProcess { start: state.starts, node, alive: Arc::new(AtomicBool::new(true)), armed };
            let process = Process::new(self.clone(), host, &running, Arc::clone(&state.clock));
            state.process = Some(running);
            let cause = Cause(inner.begin(Some(host), Kind::Started, 0));
            inner.observe(Some(host), cause, Observation::ProcessStarted);
            process
        });
        Env::Sim(process)
    }

    /// Ends the process on `host`, if one runs. With [`Stop::Lost`] the machine is gone too.
    pub fn stop(&self, host: HostId, how: Stop) {
        self.with(|inner| match how {
            Stop::Exit => inner.end(host, End::Exited, true),
            Stop::Kill => inner.end(host, End::Killed, true),
            Stop::Lost => inner.end(host, End::Lost, false),
        });
    }

    /// Whether a process runs on `host`.
    pub fn is_running(&self, host: HostId) -> bool {
        self.with(|inner| inner.host(host).process.is_some())
    }

    /// Waits until no process runs on `host`; says how the last one ended. [`End::Exited`] if there was none.
    pub async fn ended(&self, host: HostId) -> End {
        poll_fn(|cx| {
            self.with(|inner| {
                let state = inner.host_mut(host);
                if state.process.is_none() {
                    return Poll::Ready(state.last_end.clone().unwrap_or(End::Exited));
                }
                if !state.end_waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.end_waiters.push(cx.waker().clone());
                }
                Poll::Pending
            })
        })
        .await
    }

    /// Stops the process on `host` from running; the machine goes on. Timers that end meanwhile fire after.
    pub fn pause(&self, host: HostId) {
        self.with(|inner| inner.pause(host));
    }

    /// Undoes one [`World::pause`].
    pub fn resume(&self, host: HostId) {
        self.with(|inner| inner.resume(host));
    }

    /// Sets the clocks of `host`; what faults do to them comes on top. The monotonic clock does not jump.
    pub fn set_clock(&self, host: HostId, setting: ClockSetting) {
        self.with(|inner| {
            inner.host_mut(host).clock_setting = setting;
            inner.adjust_clock(host);
        });
    }

    /// True time.
    pub fn now(&self) -> Time {
        Time(self.0.now.load(Relaxed))
    }

    /// Waits, in true time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Waits, in true time.
    pub async fn sleep_until(&self, at: Time) {
        let mut timer = WorldTimer { world: self, key: None };
        poll_fn(|cx| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            timer.key = Some(self.with(|inner| inner.timer(None, at.0, cx.waker(), timer.key)));
            Poll::Pending
        })
        .await;
    }

    /// Runs `future` for at most `duration` of true time; `None` if that was not enough.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep(duration));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// The random stream called `name`.
    pub fn rng(&self, name: &str) -> ChaCha8Rng {
        self.with(|inner| inner.streams.get(name))
    }

    /// Calls `subscriber` with every event from now on, in order, outside the world's lock. It must not panic.
    pub fn on_event(&self, subscriber: Box<dyn FnMut(&Event) + Send>) {
        self.with(|inner| inner.observed = true);
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    /// Tells that something happened to the world, or to `host` from outside.
    pub fn observe(&self, host: Option<HostId>, what: Observation) {
        if let Some(event) = self.with(|inner| inner.stamp(host, cause::current(), what)) {
            self.publish(std::iter::once(event));
        }
    }

    /// The hash over everything so far.
    pub fn trace_hash(&self) -> TraceHash {
        self.with(|inner| inner.trace.hash())
    }

    /// The hash after every thousandth event.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.with(|inner| inner.trace.checkpoints.clone())
    }

    /// Keeps every event of this window, by their numbers, for [`World::recorded`]. Changes no hash.
    pub fn record(&self, window: std::ops::Range<u64>) {
        self.with(|inner| inner.trace.window = window);
    }

    /// The events of the window of [`World::record`] that have happened.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.with(|inner| inner.trace.recorded.clone())
    }

    /// Numbers of the run so far.
    pub fn counters(&self) -> Counters {
        self.with(|inner| inner.counters)
    }

    /// How many events are to come, timers included.
    pub fn pending(&self) -> usize {
        self.with(|inner| inner.heap.len())
    }

    /// The link that carries data from one host to another, this way only.
    pub fn set_link(&self, from: HostId, to: HostId, profile: LinkProfile) {
        self.with(|inner| inner.set_link(from, to, profile));
    }

    /// How fast the disk called `device` is.
    pub fn set_disk(&self, host: HostId, device: &str, profile: DiskProfile) {
        self.with(|inner| inner.device_mut(host, device).profile = profile);
    }

    /// How many bytes the disk called `device` holds at most.
    pub fn set_capacity(&self, host: HostId, device: &str, capacity: Option<u64>) {
        self.with(|inner| inner.device_mut(host, device).capacity = capacity);
    }

    /// The disks of `host`.
    pub fn devices(&self, host: HostId) -> Vec<Arc<str>> {
        self.with(|inner| inner.host(host).devices.keys().cloned().collect())
    }

    /// Every file of a disk, as a process on its host would read it. Shared, not copied.
    pub fn files(&self, host: HostId, device: &str) -> std::collections::BTreeMap<String, Chunks> {
        self.with(|inner| inner.host(host).devices.get(device).map(Device::contents).unwrap_or_default())
    }

    /// Every file of a disk, as it would be if the power went now and took all that is not durable.
    pub fn durable_files(&self, host: HostId, device: &str) -> std::collections::BTreeMap<String, Chunks> {
        self.with(|inner| inner.host(host).devices.get(device).map(Device::durable).unwrap_or_default())
    }

    /// What faults have spoilt on a disk, as far as nobody has written it again: bits that rotted, sectors that went astray,
    /// and what a power loss took though a sync had called it durable.
    pub fn damage(&self, host: HostId, device: &str) -> Vec<Damage> {
        self.with(|inner| inner.host(host).devices.get(device).map(Device::damage).unwrap_or_default())
    }

    /// Calls `f` under the lock, then does what it left to do.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.0.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut inner);
        if inner.out.is_empty() {
            return result;
        }
        let mut out = std::mem::take(&mut inner.out);
        drop(inner);
        self.flush(&mut out);
        result
    }

    /// Moves time to the next event that concerns somebody.
    fn idle(&self) {
        let mut out = Out::default();
        loop {
            let mut inner = self.0.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let moved = inner.advance();
            self.0.now.store(inner.now, Relaxed);
            std::mem::swap(&mut inner.out, &mut out);
            drop(inner);
            let concerns = !out.wakes.is_empty() || !out.completions.is_empty();
            self.flush(&mut out);
            if !moved {
                self.0.stalled.store(true, Relaxed);
                let main = self.0.main.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(waker) = main {
                    waker.wake();
                }
                return;
            }
            if concerns {
                return;
            }
        }
    }

    fn flush(&self, out: &mut Out) {
        let before = cause::current();
        if !out.events.is_empty() {
            self.publish(out.events.drain(..));
        }
        for (event, waker) in out.wakes.drain(..) {
            cause::set(Cause(event));
            waker.wake();
        }
        for (event, host, start, done, result) in out.completions.drain(..) {
            cause::set(Cause(event));
            if let Err(message) = quietly(|| done(result)) {
                self.with(|inner| {
                    if inner.is_running(host, start) {
                        inner.end(host, End::Panicked { task: "disk completion", message }, true);
                    }
                });
            }
        }
        cause::set(before);
        out.garbage.clear();
    }

    /// Shows events to the subscribers. What a subscriber does to the world is shown after it has returned.
    fn publish(&self, events: impl Iterator<Item = Event>) {
        let mut subscribers = match self.0.subscribers.try_lock() {
            Ok(subscribers) => subscribers,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // A subscriber did this: the call that shows events now takes it up.
                self.0.later.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
                self.0.has_later.store(true, Relaxed);
                return;
            }
        };
        for event in events {
            subscribers.iter_mut().for_each(|subscriber| subscriber(&event));
        }
        while self.0.has_later.swap(false, Relaxed) {
            let later = std::mem::take(&mut *self.0.later.lock().unwrap_or_else(PoisonError::into_inner));
            for event in later {
                subscribers.iter_mut().for_each(|subscriber| subscriber(&event));
            }
        }
    }

    fn end_all(&self) {
        let hosts = self.with(|inner| inner.hosts.len() as u32);
        for host in (0..hosts).map(HostId) {
            let node = self.with(|inner| {
                let process = inner.host_mut(host).process.take()?;
                process.alive.store(false, Relaxed);
                Some(process.node)
            });
            if let Some(node) = node {
                node.kill();
            }
        }
    }

    /// Breaks the cycles through wakers, completions and subscribers.
    fn clear(&self) {
        let (events, net, out) = self.with(|inner| {
            let net = std::mem::replace(&mut inner.net, Net::new(LinkProfile::default(), TcpProfile::default()));
            let disks = inner.hosts.iter_mut().flat_map(|host| host.devices.values_mut());
            let held: Vec<_> = disks.flat_map(|device| std::mem::take(&mut device.held)).collect();
            (inner.heap.clear(), net, (std::mem::take(&mut inner.out), held))
        });
        drop((events, net, out));
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.0.main.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Forgets its registration when dropped.
struct WorldTimer<'a> {
    world: &'a World,
    key: Option<crate::heap::Key>,
}

impl Drop for WorldTimer<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let event = self.world.with(|inner| inner.heap.cancel(key));
            drop(event);
        }
    }
}

/// A future whose panic is its output.
async fn catching<F: Future>(future: F) -> Result<F::Output, Box<dyn std::any::Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}
