//! The way to one node: a connection that is made anew when it has ended.
//!
//! The first request connects. While there is no connection, requests wait for the next attempt and share its outcome: if
//! it fails, all of them fail. Between two attempts lies a growing back-off.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use protocol::{Monotonic, Request};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use runtime::{Address, Env};
use tokio::sync::oneshot;

use super::{ClientOptions, Connection, Reason, RpcError};

/// How a channel connects.
#[derive(Clone, Debug)]
pub struct ChannelOptions {
    /// How each connection behaves.
    pub connection: ClientOptions,
    /// `reconnect.backoff.ms`: the least time between two attempts; doubled by each that fails.
    pub backoff: Duration,
    /// `reconnect.backoff.max.ms`.
    pub backoff_max: Duration,
}

impl ChannelOptions {
    /// Kafka's default back-off.
    pub fn new(connection: ClientOptions) -> Self {
        Self { connection, backoff: Duration::from_millis(50), backoff_max: Duration::from_secs(1) }
    }
}

/// The way to one node. Clones share it; when the last is dropped, what is in flight is still answered.
#[derive(Clone)]
pub struct Channel(Arc<Handle>);

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.address())
    }
}

/// What is to be done with a connection, or with the failure to make one. It may leave a callback, to be called outside
/// the lock.
type Job = Box<dyn FnOnce(Result<&Connection, RpcError>) -> Option<Callback> + Send>;
type Callback = Box<dyn FnOnce() + Send>;

struct State {
    address: Address,
    /// Invariant: none while jobs wait.
    connection: Option<Connection>,
    waiting: VecDeque<Job>,
    /// Of the channel's task, when it has nothing to do.
    task: Option<Waker>,
    /// Whether there are handles.
    open: bool,
}

type Shared = Arc<Mutex<State>>;

fn with<R>(shared: &Shared, f: impl FnOnce(&mut State) -> R) -> R {
    f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Handle(Shared);

impl Drop for Handle {
    fn drop(&mut self) {
        let task = with(&self.0, |state| {
            state.open = false;
            state.task.take()
        });
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Channel {
    /// A channel to the node at `address`. Nothing is connected before the first request.
    pub fn new(env: &Env, address: Address, options: ChannelOptions) -> Self {
        let state =
            State { address: address.clone(), connection: None, waiting: VecDeque::new(), task: None, open: true };
        let shared = Arc::new(Mutex::new(state));
        let reconnect = Reconnect {
            env: env.clone(),
            random: env.rng(&format!("reconnect {address}")),
            backoff: options.backoff,
            not_before: Monotonic::default(),
            options,
        };
        env.spawn_detached("channel", reconnect.run(Arc::clone(&shared)));
        Self(Arc::new(Handle(shared)))
    }

    /// Sends a request in the newest version that both ends speak, and waits for the response. If no connection is there,
    /// the next attempt to make one decides.
    pub async fn send<R: Request>(&self, request: R) -> Result<R::Response, RpcError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(request, move |outcome| drop(sender.send(outcome)));
        receiver.await.unwrap_or(Err(RpcError::Lost(Reason::Closed)))
    }

    /// Sends a request and calls `done` with its outcome: from a task of this channel, or before this returns if the
    /// request cannot be sent at all.
    pub fn submit<R: Request>(&self, request: R, done: impl FnOnce(Result<R::Response, RpcError>) + Send + 'static) {
        self.job(Box::new(move |connection| match connection {
            Ok(connection) => match connection.try_submit(&request, done) {
                Ok(()) => None,
                Err((error, done)) => Some(Box::new(move || done(Err(error)))),
            },
            Err(error) => Some(Box::new(move || done(Err(error)))),
        }));
    }

    /// Sends a request that is never answered (Produce with acks=0), and calls `done` once it is handed to a connection
    /// or cannot be.
    pub fn submit_unanswered<R: Request>(&self, request: R, done: impl FnOnce(Result<(), RpcError>) + Send + 'static) {
        self.job(Box::new(move |connection| {
            let sent = connection.and_then(|connection| connection.send_unanswered(&request));
            Some(Box::new(move || done(sent)))
        }));
    }

    /// The connection, made if there is none.
    pub async fn connection(&self) -> Result<Connection, RpcError> {
        let (sender, receiver) = oneshot::channel();
        self.job(Box::new(move |connection| {
            let connection = connection.cloned();
            Some(Box::new(move || drop(sender.send(connection))))
        }));
        receiver.await.unwrap_or(Err(RpcError::NotSent(Reason::Closed)))
    }

    /// Where it leads.
    pub fn address(&self) -> Address {
        with(&self.0.0, |state| state.address.clone())
    }

    /// Leads it elsewhere: a connection to another address is closed.
    pub fn set_address(&self, address: Address) {
        let old = with(&self.0.0, |state| {
            if state.address == address {
                return None;
            }
            state.address = address;
            state.connection.take()
        });
        if let Some(old) = old {
            old.close();
        }
    }

    /// Closes the connection; the next request makes a new one.
    pub fn disconnect(&self) {
        if let Some(connection) = with(&self.0.0, |state| state.connection.take()) {
            connection.close();
        }
    }

    /// Whether a connection is there now.
    pub fn connected(&self) -> bool {
        with(&self.0.0, |state| state.connection.as_ref().is_some_and(|connection| !connection.closed()))
    }

    fn job(&self, job: Job) {
        // Jobs are handed over under the lock, so that they keep their order.
        let (callback, task) = with(&self.0.0, |state| {
            if let Some(connection) = &state.connection
                && !connection.closed()
            {
                return (job(Ok(connection)), None);
            }
            state.connection = None;
            state.waiting.push_back(job);
            (None, state.task.take())
        });
        if let Some(callback) = callback {
            callback();
        }
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The channel's task: connects when somebody waits.
struct Reconnect {
    env: Env,
    options: ChannelOptions,
    random: ChaCha8Rng,
    /// After the next failure.
    backoff: Duration,
    /// When the next attempt may begin.
    not_before: Monotonic,
}

impl Reconnect {
    async fn run(mut self, shared: Shared) {
        while needed(&shared).await {
            self.env.sleep_until(self.not_before).await;
            let address = with(&shared, |state| state.address.clone());
            let outcome = Connection::open(&self.env, address.clone(), &self.options.connection).await;
            self.not_before = self.env.now().mono + self.rest(outcome.is_ok());
            let callbacks: Vec<_> = with(&shared, |state| {
                if state.address != address && outcome.is_ok() {
                    return Vec::new();
                }
                let jobs = std::mem::take(&mut state.waiting);
                state.connection = outcome.as_ref().ok().cloned();
                jobs.into_iter().filter_map(|job| job(outcome.as_ref().map_err(Clone::clone))).collect()
            });
            drop(outcome);
            callbacks.into_iter().for_each(|callback| callback());
        }
    }

    /// How long to rest before the next attempt: a fifth more or less than the back-off.
    fn rest(&mut self, connected: bool) -> Duration {
        let rest = if connected { self.options.backoff } else { self.backoff };
        self.backoff = if connected { self.options.backoff } else { (self.backoff * 2).min(self.options.backoff_max) };
        rest.mul_f64(self.random.random_range(0.8..1.2))
    }
}

/// Waits until a connection is needed; false once nobody can need one any more.
async fn needed(shared: &Shared) -> bool {
    poll_fn(|cx| {
        with(shared, |state| {
            if !state.waiting.is_empty() {
                return Poll::Ready(true);
            }
            if !state.open {
                return Poll::Ready(false);
            }
            state.task = Some(cx.waker().clone());
            Poll::Pending
        })
    })
    .await
}
