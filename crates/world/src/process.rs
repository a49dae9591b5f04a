//! One process start: the simulated arm of the seam.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Waker;

use protocol::{Monotonic, Now};
use rand_chacha::ChaCha8Rng;
use runtime::{Address, Connection, EffectPoint, Host, Observation, RawDisk, RawListener, Side, TaskHandle, TimerId};

use crate::clock::HostClock;
use crate::disk::SimDisk;
use crate::executor::{BoxFuture, Node, OnPanic};
use crate::inner::{End, HostId, RunningProcess};
use crate::net;
use crate::world::World;

/// What a process knows of its world. Dead once the process has ended: then every call fails or does nothing.
pub(crate) struct Process {
    pub world: World,
    pub host: HostId,
    pub start: u32,
    pub alive: Arc<AtomicBool>,
    /// Whether a `crash_at` waits for an effect of this process.
    armed: Arc<AtomicBool>,
    node: Arc<Node>,
    clock: Arc<HostClock>,
    on_panic: Arc<Crash>,
}

impl Process {
    pub fn new(world: World, host: HostId, running: &RunningProcess, clock: Arc<HostClock>) -> Arc<Self> {
        let start = running.start;
        let on_panic = Arc::new(Crash { world: world.clone(), host, start });
        let (alive, node) = (Arc::clone(&running.alive), Arc::clone(&running.node));
        let armed = Arc::clone(&running.armed);
        Arc::new(Self { world, host, start, alive, armed, node, clock, on_panic })
    }

    pub fn is_alive(&self) -> bool {
        self.alive.load(Relaxed)
    }
}

/// What unwinds a task whose process has ended at an effect. No panic: no hook runs, nobody hears of it.
struct EndedAtEffect;

/// What an operation of a dead process gives.
pub(crate) fn dead() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the process has ended")
}

/// A task's panic is a crash of its process.
struct Crash {
    world: World,
    host: HostId,
    start: u32,
}

impl OnPanic for Crash {
    fn panicked(&self, task: &'static str, message: String) {
        self.world.with(|inner| {
            if inner.is_running(self.host, self.start) {
                inner.end(self.host, End::Panicked { task, message }, true);
            }
        });
    }
}

impl Host for Process {
    fn now(&self) -> Now {
        self.clock.now(self.world.now().0)
    }

    fn timer(&self, at: Monotonic, waker: &Waker, slot: &mut Option<TimerId>) {
        // Nobody waits for ever on the heap: "no event left" must be able to be true.
        if !self.is_alive() || at == Monotonic::NEVER {
            return;
        }
        let key = slot.map(|id| (id.0, id.1));
        let (time, seq) = self.world.with(|inner| inner.timer(Some(self.host), at.0, waker, key));
        *slot = Some(TimerId(time, seq));
    }

    fn cancel_timer(&self, id: TimerId) {
        let event = self.world.with(|inner| inner.heap.cancel((id.0, id.1)));
        drop(event);
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        if !self.is_alive() {
            return TaskHandle { abort: Box::new(|| ()) };
        }
        self.node.spawn(name, task, Arc::clone(&self.on_panic) as Arc<dyn OnPanic>)
    }

    fn connect(&self, to: Address) -> BoxFuture<io::Result<Connection>> {
        net::connect(self, &to)
    }

    fn listen(&self, at: Address) -> BoxFuture<io::Result<Box<dyn RawListener>>> {
        let result = net::listen(self, &at);
        Box::pin(std::future::ready(result))
    }

    fn disk(&self, device: &str) -> Arc<dyn RawDisk> {
        SimDisk::of(self, device)
    }

    fn rng(&self, purpose: &str) -> ChaCha8Rng {
        self.world
            .with(|inner| inner.streams.get(&format!("host/{}/{}/{purpose}", inner.host(self.host).name, self.start)))
    }

    fn observe(&self, what: Observation) {
        if self.is_alive() {
            self.world.observe(Some(self.host), what);
        }
    }

    fn at_effect(&self, effect: EffectPoint, side: Side) {
        if !self.armed.load(Relaxed) || !self.is_alive() {
            return;
        }
        if self.world.with(|inner| inner.crashes_at(self.host, effect, side)) {
            std::panic::resume_unwind(Box::new(EndedAtEffect));
        }
    }

    fn charge(&self, _nanos: u64) {
        // The profile `ideal`: CPUs are infinitely fast.
    }
}
