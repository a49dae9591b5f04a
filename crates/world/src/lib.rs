//! Simulated hosts: their network, disks, clocks and processes, all obeying one seed.
//!
//! [`World::run`] makes a world and runs a future beside it. [`World::add_host`] gives it machines; [`World::start`] starts
//! a process on one and returns the [`Env`](runtime::Env) that the process lives in. [`Fault`] is what can go wrong;
//! [`World::apply`] makes it so and [`World::heal`] ends it. [`World::on_event`] shows everything that happens;
//! [`World::trace_hash`] is what two runs of one seed must agree on.
//!
//! There is one event heap and one clock. Time moves only when no task is ready, and then exactly to the next event.
//! The executor is rented from madsim; only `executor` knows.
//!
//! Deliberately absent: packets, kernels, real threads, and anything that is not decided by the seed.

#[cfg(not(madsim))]
compile_error!(
    "`world` needs --cfg madsim. The project's .cargo/config.toml sets it, but an environment variable RUSTFLAGS replaces \
     that file: unset it, or add `--cfg madsim` to it; and build from inside the project's folder."
);

#[cfg(madsim)]
mod clock;
#[cfg(madsim)]
mod disk;
#[cfg(madsim)]
mod event;
#[cfg(madsim)]
mod executor;
#[cfg(madsim)]
mod fault;
#[cfg(madsim)]
mod heap;
#[cfg(madsim)]
mod inner;
#[cfg(madsim)]
mod net;
#[cfg(madsim)]
mod process;
#[cfg(madsim)]
mod streams;
#[cfg(madsim)]
mod time;
#[cfg(madsim)]
mod trace;
#[cfg(madsim)]
mod words;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
pub use crate::{
    clock::ClockSetting,
    disk::{Damage, DiskProfile, FileLoss, Glob, Lose, PowerLoss, Which},
    event::Event,
    fault::{
        ClockFault, DiskFault, Drive, Fault, FaultId, FaultReport, Link, NetworkFault, ProcessFault, ResetOf,
        VOCABULARY, Word,
    },
    inner::{Counters, End, HostId, Stop},
    net::{LinkProfile, TcpProfile},
    streams::{below, stream},
    time::Time,
    trace::{CHECKPOINT_EVERY, Checkpoint, Recorded, TraceHash},
    world::{Config, Stalled, World},
};
