//! The seam: everything that a broker or a client may ask of the machine it runs on.
//!
//! [`Env`] is one start of one process: its clock, timers, network, disks, tasks, randomness and the place to tell what
//! happened. It has two arms. [`Env::Os`] is the operating system, in [`os`]; [`Env::Sim`] is whatever implements
//! [`Host`], which in this project is the crate `world`. What runs above cannot tell which arm it has.
//!
//! The currencies: [`Chunks`] for bytes, [`Inbox`] between tasks, [`Observation`] for what happened.
//!
//! Deliberately absent: generics over the arm, a global current world, and any way to reach a clock, a socket, a file or
//! entropy beside an `Env`.

pub mod cause;
mod disk;
pub mod effect;
mod env;
mod host;
mod inbox;
mod net;
pub mod observation;
pub mod os;
mod task;
mod timer;

pub use disk::{Completion, DirEntry, Disk, DiskOp, DiskOutput, DiskResult, OpenFile, OpenMode, RawDisk};
pub use effect::{EffectPoint, Side};
pub use env::Env;
pub use host::Host;
pub use inbox::{Closed, Full, Inbox, Post, inbox};
pub use net::{Address, Connection, Listener, RawListener, RawReader, RawWriter, ReadHalf, WriteHalf};
pub use observation::{Observation, ProcessEnd};
pub use protocol::{Chunk, Chunks};
pub use task::{Task, TaskHandle};
pub use timer::{Elapsed, Sleep, TimerId};
