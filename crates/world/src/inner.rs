//! The state of a world, behind its one lock.
//!
//! [`Inner`] moves from event to event. What must not run under the lock (wakers, completions, subscribers, destructors of
//! what a process handed in) is collected in [`Out`] and done by the caller once the lock is free.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;

use runtime::observation::ProcessEnd;
use runtime::{Completion, DiskResult, Observation, cause::Cause};

use crate::clock::{ClockSetting, HostClock};
use crate::disk::{Device, DiskProfile};
use crate::event::Event;
use crate::executor::Node;
use crate::fault::{CrashPoint, Faults};
use crate::heap::{Heap, Key, Scheduled};
use crate::net::{HostNet, Net};
use crate::streams::Streams;
use crate::time::Time;
use crate::trace::Trace;

/// A machine of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u32);

impl HostId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How to end a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It returned by itself, or after a graceful stop: its sockets close, the page cache stays.
    Exit,
    /// SIGKILL: as [`Stop::Exit`] for the machine; only the report differs.
    Kill,
    /// Its machine is gone from the network from now on: silence. What it wrote is still there when it is started again.
    Lost,
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself.
    Exited,
    /// Killed.
    Killed,
    /// Its machine was lost or lost power.
    Lost,
    /// One of its tasks panicked.
    Panicked {
        /// The task's name.
        task: &'static str,
        /// The panic's message and place.
        message: String,
    },
}

/// Numbers of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Events of the world that were carried out.
    pub events: u64,
    /// Instants at which something happened.
    pub instants: u64,
    /// Timers that ended.
    pub timers: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Arrivals of data.
    pub deliveries: u64,
    /// Bytes that arrived.
    pub bytes_delivered: u64,
    /// Retransmissions, of data and of handshakes.
    pub retransmissions: u64,
    /// Connections that were given up.
    pub timeouts: u64,
    /// RSTs that arrived.
    pub resets: u64,
    /// Disk operations.
    pub disk_ops: u64,
    /// Bytes written to disks.
    pub bytes_written: u64,
    /// Bytes read from disks.
    pub bytes_read: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Observations.
    pub observations: u64,
}

/// Kinds of events in the trace hash. Pinned.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    Timer = 1,
    Deliver,
    Credit,
    Transmit,
    Retransmit,
    Reset,
    Syn,
    Answer,
    Established,
    Disk,
    Observed,
    Started,
    Ended,
    Paused,
    Resumed,
    Fault,
    Healed,
    PowerLoss,
    Wiped,
}

/// The trace's host of what concerns no host.
pub(crate) const NOBODY: u32 = u16::MAX as u32;

/// What to do once the lock is free.
#[derive(Default)]
pub(crate) struct Out {
    pub wakes: Vec<(u64, Waker)>,
    pub completions: Vec<(u64, HostId, u32, Completion, DiskResult)>,
    pub events: Vec<Event>,
    /// Dropped only.
    pub garbage: Vec<Garbage>,
}

/// What may have destructors that call the world.
#[expect(dead_code, reason = "it is only dropped")]
pub(crate) enum Garbage {
    Waker(Waker),
    Completion(Completion, Option<DiskResult>),
    Event(Scheduled),
    Node(Arc<Node>),
}

impl Out {
    pub fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.completions.is_empty() && self.events.is_empty() && self.garbage.is_empty()
    }
}

pub(crate) struct Inner {
    pub now: u64,
    pub heap: Heap,
    pub hosts: Vec<HostState>,
    pub by_name: BTreeMap<Arc<str>, HostId>,
    pub net: Net,
    pub faults: Faults,
    pub streams: Streams,
    pub trace: Trace,
    pub counters: Counters,
    pub out: Out,
    /// Whether anybody subscribed.
    pub observed: bool,
    pub disk_profile: DiskProfile,
    /// The event that is being carried out.
    pub current: u64,
}

pub(crate) struct HostState {
    pub name: Arc<str>,
    /// Whether the machine answers the network.
    pub up: bool,
    /// How many processes were started here.
    pub starts: u32,
    pub process: Option<RunningProcess>,
    pub last_end: Option<End>,
    pub end_waiters: Vec<Waker>,
    pub clock: Arc<HostClock>,
    /// How the clocks run but for faults.
    pub clock_setting: ClockSetting,
    pub net: HostNet,
    pub devices: BTreeMap<Arc<str>, Device>,
    pub paused: u32,
    /// Effects at which a process of this host ends.
    pub crash_points: Vec<CrashPoint>,
    /// Completions that wait for the process to go on.
    pub parked: Vec<(u64, Completion, DiskResult)>,
}

pub(crate) struct RunningProcess {
    pub start: u32,
    pub node: Arc<Node>,
    pub alive: Arc<AtomicBool>,
    /// Whether [`HostState::crash_points`] has any.
    pub armed: Arc<AtomicBool>,
}

impl Inner {
    pub fn host(&self, host: HostId) -> &HostState {
        &self.hosts[host.index()]
    }

    pub fn host_mut(&mut self, host: HostId) -> &mut HostState {
        &mut self.hosts[host.index()]
    }

    pub fn is_running(&self, host: HostId, start: u32) -> bool {
        self.host(host).process.as_ref().is_some_and(|process| process.start == start)
    }

    /// Counts an event of the world, gives it its number and makes it the current cause.
    pub fn begin(&mut self, host: Option<HostId>, kind: Kind, size: u64) -> u64 {
        self.current = self.trace.event(self.now, host.map_or(NOBODY, |host| host.0), kind as u8, size);
        self.current
    }

    /// Takes in an observation; to be shown if anybody subscribed.
    pub fn stamp(&mut self, host: Option<HostId>, cause: Cause, what: Observation) -> Option<Event> {
        use std::hash::Hash;
        self.counters.observations += 1;
        let id = self.trace.event(self.now, host.map_or(NOBODY, |host| host.0), Kind::Observed as u8, 0);
        self.trace.was(cause, &what);
        what.hash(&mut self.trace);
        self.observed.then(|| Event { id, at: Time(self.now), host, cause, what })
    }

    /// Takes in an observation, to be shown once the lock is free.
    pub fn observe(&mut self, host: Option<HostId>, cause: Cause, what: Observation) {
        let event = self.stamp(host, cause, what);
        self.out.events.extend(event);
    }

    pub fn wake(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.out.wakes.push((self.current, waker));
        }
    }

    /// Keeps `waker` in `slot`.
    pub fn set_waker(slot: &mut Option<Waker>, waker: &Waker, garbage: &mut Vec<Garbage>) {
        if slot.as_ref().is_none_or(|old| !old.will_wake(waker))
            && let Some(old) = slot.replace(waker.clone())
        {
            garbage.push(Garbage::Waker(old));
        }
    }

    /// Carries out everything that is due at the next instant. `false` if there is nothing left to happen.
    pub fn advance(&mut self) -> bool {
        let Some(next) = self.heap.next() else { return false };
        assert!(next >= self.now, "time went back: {} -> {next}", self.now);
        self.now = next;
        self.counters.instants += 1;
        let mut events = 0_u64;
        while let Some(event) = self.heap.pop_due(next) {
            self.carry_out(event);
            events += 1;
            assert!(events < 100_000_000, "the world's own events do not let time move at {next} ns");
        }
        self.counters.events += events;
        true
    }

    fn carry_out(&mut self, event: Scheduled) {
        match event {
            Scheduled::Timer { host, waker, .. } => {
                self.begin(host, Kind::Timer, 0);
                self.counters.timers += 1;
                self.wake(Some(waker));
            }
            Scheduled::Deliver(pipe) => self.deliver(pipe),
            Scheduled::Credit(pipe) => self.credit(pipe),
            Scheduled::Transmit(pipe) => self.transmit_due(pipe),
            Scheduled::Retransmit(pipe) => self.retransmit(pipe),
            Scheduled::Reset(conn, side) => self.reset_arrives(conn, side),
            Scheduled::Syn(attempt) => self.syn_arrives(attempt),
            Scheduled::Answer(attempt, outcome) => self.answer_arrives(attempt, outcome),
            Scheduled::Established(conn, tries) => self.established(conn, tries),
            Scheduled::Disk(event) => self.disk_done(event),
            Scheduled::Fault(id, step) => self.fault_step(id, step),
        }
    }

    pub fn timer(&mut self, host: Option<HostId>, mono: u64, waker: &Waker, slot: Option<Key>) -> Key {
        if let Some(key) = slot
            && let Some(Scheduled::Timer { waker: old, .. }) = self.heap.get_mut(key)
        {
            if !old.will_wake(waker) {
                let old = std::mem::replace(old, waker.clone());
                self.out.garbage.push(Garbage::Waker(old));
            }
            return key;
        }
        let at = host.map_or(mono, |host| self.host(host).clock.true_time(mono));
        self.heap.push(at.max(self.now), Scheduled::Timer { host, mono, waker: waker.clone() })
    }

    /// Ends the process on `host`, if one runs.
    pub fn end(&mut self, host: HostId, end: End, machine_stays: bool) {
        let state = &mut self.hosts[host.index()];
        if !machine_stays {
            state.up = false;
        }
        let Some(process) = state.process.take() else {
            if !machine_stays {
                // What an older process left to the machine goes with it.
                self.close_all(host, 0, false);
            }
            return;
        };
        // First dead for the world, then for the executor: destructors run later, in any order, and find nothing.
        process.alive.store(false, std::sync::atomic::Ordering::Relaxed);
        state.last_end = Some(end.clone());
        state.paused = 0;
        let parked = std::mem::take(&mut state.parked);
        let waiters = std::mem::take(&mut state.end_waiters);
        let how = match end {
            End::Exited => ProcessEnd::Exited,
            End::Killed => ProcessEnd::Killed,
            End::Lost => ProcessEnd::PowerLost,
            End::Panicked { .. } => ProcessEnd::Panicked,
        };
        let why = if let End::Panicked { task, message } = end { format!("{task}: {message}") } else { String::new() };
        let cause = Cause(self.begin(Some(host), Kind::Ended, how as u64));
        self.observe(Some(host), cause, Observation::ProcessEnded { how, why });
        self.out.garbage.extend(parked.into_iter().map(|(_, done, result)| Garbage::Completion(done, Some(result))));
        self.close_all(host, process.start, machine_stays);
        self.close_files(host);
        waiters.into_iter().for_each(|waker| self.wake(Some(waker)));
        process.node.kill();
        self.out.garbage.push(Garbage::Node(process.node));
    }

    pub fn pause(&mut self, host: HostId) {
        let state = self.host_mut(host);
        let Some(process) = &state.process else { return };
        state.paused += 1;
        if state.paused == 1 {
            process.node.pause();
            self.begin(Some(host), Kind::Paused, 0);
        }
    }

    pub fn resume(&mut self, host: HostId) {
        let state = self.host_mut(host);
        state.paused = state.paused.saturating_sub(1);
        if state.paused > 0 {
            return;
        }
        let parked = std::mem::take(&mut state.parked);
        let Some(process) = &state.process else { return };
        process.node.resume();
        let start = process.start;
        self.begin(Some(host), Kind::Resumed, 0);
        self.out.completions.extend(parked.into_iter().map(|(cause, done, result)| (cause, host, start, done, result)));
    }
}
