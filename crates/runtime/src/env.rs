//! One start of one process.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use protocol::{Monotonic, Now};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::effect::{EffectPoint, Side};
use crate::host::Host;
use crate::net::{Address, Connection, Listener};
use crate::observation::Observation;
use crate::os;
use crate::task::{Task, TaskHandle};
use crate::timer::{Elapsed, Inner, Sleep};

/// All that a process may ask of its machine. Cheap to clone, passed explicitly; dead with its process.
#[derive(Clone)]
pub enum Env {
    /// The operating system.
    Os(Arc<os::Process>),
    /// A simulated host.
    Sim(Arc<dyn Host>),
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Os(_) => "Env::Os",
            Self::Sim(_) => "Env::Sim",
        })
    }
}

impl Env {
    /// Both clocks.
    pub fn now(&self) -> Now {
        match self {
            Self::Os(process) => process.now(),
            Self::Sim(host) => host.now(),
        }
    }

    /// Waits until `at`; [`Monotonic::NEVER`] waits for ever.
    pub fn sleep_until(&self, at: Monotonic) -> Sleep {
        Sleep(match self {
            Self::Os(process) => Inner::Os(process.sleep_until(at)),
            Self::Sim(host) => Inner::Sim { host: Arc::clone(host), at, slot: None },
        })
    }

    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().mono + duration)
    }

    /// Runs `future` for at most `duration`, then drops it.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.timeout_at(self.now().mono + duration, future).await
    }

    /// Runs `future` until `at` at the latest, then drops it. The future is asked first.
    pub async fn timeout_at<F: Future>(&self, at: Monotonic, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep_until(at));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Runs a task of this process. In the world a panic in it is a crash of the process.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, result) = oneshot::channel();
        let handle = self.spawn_detached(name, async move {
            drop(sender.send(future.await));
        });
        Task { handle, result }
    }

    /// Runs a task whose result nobody waits for.
    pub fn spawn_detached(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        match self {
            Self::Os(process) => process.spawn(name, future),
            Self::Sim(host) => host.spawn(name, Box::pin(future)),
        }
    }

    /// Opens a connection.
    pub async fn connect(&self, to: Address) -> io::Result<Connection> {
        match self {
            Self::Os(process) => process.connect(to).await,
            Self::Sim(host) => host.connect(to).await,
        }
    }

    /// Listens at an address.
    pub async fn listen(&self, at: Address) -> io::Result<Listener> {
        Ok(Listener(match self {
            Self::Os(process) => process.listen(at).await?,
            Self::Sim(host) => host.listen(at).await?,
        }))
    }

    /// The disk called `device`: on the operating system a directory, in the world a device of the host.
    pub fn disk(&self, device: &str) -> Disk {
        Disk(match self {
            Self::Os(process) => process.disk(device),
            Self::Sim(host) => host.disk(device),
        })
    }

    /// The stream of random numbers of this process start and purpose.
    pub fn rng(&self, purpose: &str) -> ChaCha8Rng {
        match self {
            Self::Os(process) => process.rng(purpose),
            Self::Sim(host) => host.rng(purpose),
        }
    }

    /// Tells that something happened. On the operating system nobody listens.
    pub fn observe(&self, what: Observation) {
        if let Self::Sim(host) = self {
            host.observe(what);
        }
    }

    /// Whether anybody listens to [`Env::observe`].
    pub fn observed(&self) -> bool {
        match self {
            Self::Os(_) => false,
            Self::Sim(host) => host.observed(),
        }
    }

    /// The effect is carried out next. A world may end the process here: then this does not return. On the operating
    /// system nothing happens.
    pub fn before(&self, effect: EffectPoint) {
        if let Self::Sim(host) = self {
            host.at_effect(effect, Side::Before);
        }
    }

    /// The effect has been carried out. As [`Env::before`].
    pub fn after(&self, effect: EffectPoint) {
        if let Self::Sim(host) = self {
            host.at_effect(effect, Side::After);
        }
    }

    /// This lane spent `nanos` of CPU time. On the operating system it did so anyway.
    pub fn charge(&self, nanos: u64) {
        if let Self::Sim(host) = self {
            host.charge(nanos);
        }
    }
}
