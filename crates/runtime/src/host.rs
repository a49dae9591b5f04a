//! What a simulated host must offer: the other arm of [`Env`](crate::Env).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use protocol::{Monotonic, Now};
use rand_chacha::ChaCha8Rng;

use crate::disk::RawDisk;
use crate::effect::{EffectPoint, Side};
use crate::net::{Address, Connection, RawListener};
use crate::observation::Observation;
use crate::task::TaskHandle;
use crate::timer::TimerId;

/// A future on the heap that a host can run.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One process start on a simulated host. After the process's end every call fails or does nothing.
pub trait Host: Send + Sync + 'static {
    /// Both clocks of this host.
    fn now(&self) -> Now;

    /// Wakes `waker` at `at`. `slot` is the caller's registration: empty at first; a second call with the same slot only
    /// replaces the waker.
    fn timer(&self, at: Monotonic, waker: &Waker, slot: &mut Option<TimerId>);

    /// Forgets a registration.
    fn cancel_timer(&self, id: TimerId);

    /// Runs a task of this process; a panic in it is a crash of the process.
    fn spawn(&self, name: &'static str, task: BoxFuture<()>) -> TaskHandle;

    /// Opens a connection.
    fn connect(&self, to: Address) -> BoxFuture<io::Result<Connection>>;

    /// Listens.
    fn listen(&self, at: Address) -> BoxFuture<io::Result<Box<dyn RawListener>>>;

    /// The disk called `device`.
    fn disk(&self, device: &str) -> Arc<dyn RawDisk>;

    /// The stream of random numbers of this host and purpose. Calling twice gives the same stream from its start within
    /// one process start.
    fn rng(&self, purpose: &str) -> ChaCha8Rng;

    /// Something happened; stamped with time, host and cause.
    fn observe(&self, what: Observation);

    /// A driver is between two effects of a machine. May end the process; then it does not return, but unwinds.
    fn at_effect(&self, _effect: EffectPoint, _side: Side) {}

    /// This lane spent CPU time on `nanos` worth of work. The profile `ideal` ignores it.
    fn charge(&self, nanos: u64);

    /// Whether anything listens to [`Self::observe`]; lets callers skip building what nobody reads.
    fn observed(&self) -> bool {
        true
    }
}
