//! The end that answers.
//!
//! [`serve`] runs one task a listener and one a connection. [`Service::call`] is called once a request, in the order of
//! arrival, and *starts* the work before it returns; what it gives back only waits. So two requests of one connection take
//! effect in their order though both are in flight, and answers leave in that order too (Kafka processes one request a
//! connection at a time; the difference cannot be seen from outside).
//!
//! Whatever one peer sends, only its own connection ends.

mod answer;
mod connection;
mod counters;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use protocol::Str;
use runtime::{Address, Env, Listener, Task, TaskHandle};
use tokio::sync::oneshot;

pub use answer::{Answer, Reply, RequestContext, RequestFrame};
pub use counters::{Counters, LATENCY_BUCKETS, latency_bound};

use crate::frame::FRAME_BYTES_MAX;
use crate::ranges::ApiRanges;

/// How long accepting rests after an error (no descriptors left, say).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Starts the work of a request, at once and in order, and says where its answer comes from. The key and version are
    /// in [`ServerConfig::apis`]. Must not block.
    fn call(&self, context: RequestContext, request: RequestFrame) -> Answer;
}

/// What a listener's connections may do.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The listener's name: `PLAINTEXT`, `CONTROLLER`, …
    pub listener: Str,
    /// The versions that are answered. Whatever else is asked closes the connection; ApiVersions of an unknown version is
    /// answered with UNSUPPORTED_VERSION and its range here.
    pub apis: ApiRanges,
    /// `socket.request.max.bytes`.
    pub frame_bytes_max: usize,
    /// Requests of one connection taken before the first of them is answered.
    pub requests_in_flight_max: usize,
    /// Bytes of such requests after which no other is taken.
    pub bytes_in_flight_max: usize,
    /// `connections.max.idle.ms`: a connection over which nothing went for this long is closed.
    pub idle_max: Duration,
}

impl ServerConfig {
    /// Kafka's defaults, and a bounded pipeline.
    pub fn new(listener: impl Into<Str>, apis: ApiRanges) -> Self {
        Self {
            listener: listener.into(),
            apis,
            frame_bytes_max: FRAME_BYTES_MAX,
            requests_in_flight_max: 64,
            bytes_in_flight_max: 8 << 20,
            idle_max: Duration::from_secs(600),
        }
    }
}

/// A connection's number, unique within its server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Accepts and answers until [`Server::stop`]. Dropping the handle lets the server run on.
pub fn serve(env: &Env, listener: Listener, config: ServerConfig, service: Arc<dyn Service>) -> Server {
    assert!(config.requests_in_flight_max > 0 && config.bytes_in_flight_max > 0, "no request could be taken");
    let local = listener.local();
    let shared =
        Arc::new(Shared { env: env.clone(), config, service, counters: Arc::default(), connections: Mutex::default() });
    let (stop, stopped) = oneshot::channel();
    let accepting = env.spawn("accept", accept(Arc::clone(&shared), listener, stopped));
    Server { shared, local, stop, accepting }
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    local: Address,
    stop: oneshot::Sender<()>,
    accepting: Task<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} at {})", self.shared.config.listener, self.local)
    }
}

impl Server {
    /// Where it listens.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The name of its listener.
    pub fn listener(&self) -> &Str {
        &self.shared.config.listener
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Ends it: no new connections, no new requests, and what is in flight may be answered for `grace`.
    pub async fn stop(self, grace: Duration) {
        self.stop.send(()).ok();
        self.accepting.join().await;
        self.shared.with(|connections| {
            connections.stopping = true;
            for entry in connections.open.values_mut() {
                drop(entry.stop.take());
            }
        });
        let drained = poll_fn(|cx| {
            self.shared.with(|connections| {
                if connections.open.is_empty() {
                    return Poll::Ready(());
                }
                connections.drained = Some(cx.waker().clone());
                Poll::Pending
            })
        });
        if self.shared.env.timeout(grace, drained).await.is_err() {
            let left: Vec<_> =
                self.shared.with(|connections| std::mem::take(&mut connections.open)).into_values().collect();
            left.iter().filter_map(|entry| entry.task.as_ref()).for_each(TaskHandle::abort);
        }
    }
}

/// What the tasks of a server share.
struct Shared {
    env: Env,
    config: ServerConfig,
    service: Arc<dyn Service>,
    counters: Arc<Counters>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    open: BTreeMap<ConnectionId, Entry>,
    stopping: bool,
    /// Woken when the last one has ended.
    drained: Option<Waker>,
}

struct Entry {
    /// Dropped to ask the connection to end.
    stop: Option<oneshot::Sender<()>>,
    task: Option<TaskHandle>,
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Connections) -> R) -> R {
        f(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(shared: Arc<Shared>, mut listener: Listener, stopped: oneshot::Receiver<()>) {
    let mut asked = pin!(async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut asked => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                open(&shared, ConnectionId(next), connection);
                next += 1;
            }
            Err(error) => {
                tracing::warn!(listener = %shared.config.listener, %error, "accepting failed");
                shared.env.sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Starts the task of a connection.
fn open(shared: &Arc<Shared>, id: ConnectionId, connection: runtime::Connection) {
    let (stop, stopped) = oneshot::channel();
    shared.with(|connections| {
        connections.open.insert(id, Entry { stop: (!connections.stopping).then_some(stop), task: None });
    });
    shared.counters.connection_opened();
    let closing = Closing { shared: Arc::clone(shared), id };
    let task = shared.env.spawn_detached("connection", {
        let shared = Arc::clone(shared);
        async move {
            let closing = closing;
            connection::run(&shared, id, connection, stopped).await;
            drop(closing);
        }
    });
    shared.with(|connections| {
        if let Some(entry) = connections.open.get_mut(&id) {
            entry.task = Some(task);
        }
    });
}

/// Takes a connection off the list when its task ends, however it does.
struct Closing {
    shared: Arc<Shared>,
    id: ConnectionId,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.shared.counters.connection_closed();
        let (entry, drained) = self.shared.with(|connections| {
            let entry = connections.open.remove(&self.id);
            (entry, if connections.open.is_empty() { connections.drained.take() } else { None })
        });
        drop(entry);
        if let Some(waker) = drained {
            waker.wake();
        }
    }
}
