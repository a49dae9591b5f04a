//! The operating system's arm of the seam: tokio's multi-threaded runtime, real sockets, a real directory.
//!
//! [`run`] starts a runtime and gives the program its [`Env`]; [`Process`] is one process start. Streams move lists of
//! pieces with vectored writes; a disk keeps the operations on one file in order, writes to the page cache at once, tries
//! reads without blocking, and leaves what may block to a small pool of threads.
//!
//! This is the only place of the project that may name a clock, a socket, a file or entropy. Deliberately absent: timers
//! finer than tokio's millisecond, and anybody who listens to observations.

mod disk;
mod lock;
mod net;
mod process;
mod signal;
mod timer;

pub use lock::{DirLock, LockError};
pub use net::host_name;
pub use process::{Process, TaskPanic, run};
pub use signal::{StopSignals, ask_to_end};
pub use timer::Sleep;
