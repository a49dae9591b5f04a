//! One node in this process: its directory for itself, its start, its signals, its end.

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use broker::{Broker, Config, IdentityError, Release, StartError};
use futures_util::future::{Either, select};
use protocol::Uuid;
use rand::Rng as _;
use runtime::os::{self, DirLock, StopSignals};
use runtime::{Address, Env};
use storage::MetaProperties;

use crate::settings::Settings;
use crate::{Arguments, Program, metrics, say, say_error};

/// What a node of a local cluster prints, once, when it serves.
pub const READY: &str = "ready";

/// Runs a node until it is asked to stop.
pub fn run(program: &Program, arguments: &Arguments, settings: Settings) -> ExitCode {
    // Held to the end: the directory is this process's.
    let lock = DirLock::take(&settings.data());
    let lock = match lock {
        Ok(lock) => lock,
        Err(error) => {
            say_error(&format!("{error}\n  another directory: --data DIR, or `log.dirs` in the configuration"));
            return ExitCode::FAILURE;
        }
    };
    let code = os::run(".", None, |env| live(program, arguments, settings, env));
    drop(lock);
    code
}

/// Why it ends.
enum Asked {
    /// By a signal of this name.
    Stop(&'static str),
    /// It cannot go on.
    Failed(String),
}

async fn live(program: &Program, arguments: &Arguments, settings: Settings, env: Env) -> ExitCode {
    if let Env::Os(process) = &env {
        // In the world a panic is a crash of the process; so it is here.
        process.on_panic(|panic| {
            tracing::error!(task = panic.task, "{}", panic.message);
            std::process::abort();
        });
    }
    let config = settings.config;
    if let Err(problem) = look_ahead(&env, &config, arguments).await {
        say_error(&problem);
        return ExitCode::FAILURE;
    }
    let mut ends = match Ends::new(arguments.one_of_many) {
        Ok(ends) => ends,
        Err(error) => {
            say_error(&format!("failed to listen to signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let starting = Broker::start(env, config.clone(), Release::current());
    let mut broker = match select(pin!(ends.asked()), pin!(starting)).await {
        Either::Left((by, _)) => {
            tracing::info!(by, "stopped before it had started");
            return ExitCode::SUCCESS;
        }
        Either::Right((Ok(broker), _)) => broker,
        Either::Right((Err(error), _)) => {
            say_error(&explained(&error, &config));
            return ExitCode::FAILURE;
        }
    };
    let asked = serve(program, arguments, &config, &mut broker, &mut ends).await;
    match asked {
        Asked::Failed(why) => {
            say_error(&format!("node {} cannot go on: {why}", config.node_id));
            ExitCode::FAILURE
        }
        Asked::Stop(by) => {
            tracing::info!(by, "stopping: leadership is handed over, logs are closed; once more ends at once");
            match select(pin!(ends.asked()), pin!(broker.stop())).await {
                Either::Left((by, _)) => {
                    say_error(&format!("stopped hard by a second signal ({by}): the next start recovers the logs"));
                    ExitCode::FAILURE
                }
                Either::Right(_) => {
                    tracing::info!("stopped");
                    ExitCode::SUCCESS
                }
            }
        }
    }
}

/// Serves until there is a reason to end; says when it is ready.
async fn serve(
    program: &Program,
    arguments: &Arguments,
    config: &Config,
    broker: &mut Broker,
    ends: &mut Ends,
) -> Asked {
    for address in broker.addresses() {
        tracing::debug!(%address, "listening");
    }
    if let Some((host, port)) = &arguments.metrics
        && let Err(error) = metrics::serve(broker.watcher(), Address::new(host.as_str(), *port)).await
    {
        return Asked::Failed(format!("metrics cannot listen at {host}:{port}: {error}"));
    }
    let ready = if arguments.one_of_many { READY.to_owned() } else { introduction(program, config, broker) };
    let is_ready = broker.ready();
    let serving = pin!(async {
        let failed = pin!(broker.failed());
        match select(failed, pin!(is_ready)).await {
            Either::Left((why, _)) => why,
            Either::Right(((), failed)) => {
                say(&ready);
                failed.await
            }
        }
    });
    match select(pin!(ends.asked()), serving).await {
        Either::Left((by, _)) => Asked::Stop(by),
        Either::Right((why, _)) => Asked::Failed(why),
    }
}

/// Which node it is and how to reach it.
fn introduction(program: &Program, config: &Config, broker: &Broker) -> String {
    let Program { name, version, .. } = program;
    let (node, cluster, data) = (config.node_id, broker.cluster_id(), &config.log_dir);
    let client = config.advertised_listeners.iter().find(|listener| listener.name != config.controller_listener_name);
    match client.filter(|_| config.is_broker) {
        Some(client) => format!(
            "{name} {version}: node {node} of cluster {cluster}, data in {data}\n\
             connect with bootstrap.servers={0}   (for example: kcat -b {0} -L)",
            client.address
        ),
        None => format!("{name} {version}: controller {node} of cluster {cluster}, data in {data}"),
    }
}

/// Looks at what would make the start fail, before anything is touched: a node that has opened its directory and then ends
/// has to recover it the next time.
async fn look_ahead(env: &Env, config: &Config, arguments: &Arguments) -> Result<(), String> {
    identity(env, config)?;
    let metrics = arguments.metrics.iter().map(|(host, port)| Address::new(host.as_str(), *port));
    for address in config.listeners.iter().map(|listener| listener.address.clone()).chain(metrics) {
        if let Err(error) = env.listen(address.clone()).await {
            return Err(explained(&StartError::Listen { address, error }, config));
        }
    }
    Ok(())
}

/// Whether the directory is this node's; and if it is new, whether the cluster that it is to belong to is known.
#[expect(clippy::disallowed_methods, reason = "only looks; the node itself reads it through its disk")]
fn identity(env: &Env, config: &Config) -> Result<(), String> {
    let path = Path::new(&config.log_dir).join("meta.properties");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let found = MetaProperties::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        let own = config.cluster_id;
        return if found.node_id != config.node_id {
            let error = IdentityError::OtherNode { found: found.node_id, own: config.node_id };
            Err(explained(&error.into(), config))
        } else if !own.is_zero() && Uuid::parse(&found.cluster_id) != Some(own) {
            Err(explained(&IdentityError::OtherCluster { found: found.cluster_id, own }.into(), config))
        } else {
            Ok(())
        };
    }
    if (config.is_controller && config.voters.len() == 1) || !config.cluster_id.is_zero() {
        return Ok(());
    }
    let mut rng = env.rng("cluster-id");
    let fresh = Uuid::from_halves(rng.next_u64(), rng.next_u64());
    Err(format!(
        "the directory {} is new, and nothing says which cluster it is to belong to\n  \
         give all its nodes the same `cluster.id`; a fresh one: cluster.id={fresh}",
        config.log_dir
    ))
}

/// A failed start, with what can be done about it.
fn explained(error: &StartError, config: &Config) -> String {
    let hint = match error {
        StartError::Listen { error, address } if error.kind() == std::io::ErrorKind::AddrInUse => {
            let flag = if config.broker_listener().is_some_and(|it| it.address == *address) {
                "is another broker running? Or listen elsewhere: --listen HOST:PORT, or `listeners`"
            } else if !config.listeners.iter().any(|it| it.address == *address) {
                "the metrics'; elsewhere: --metrics HOST:PORT"
            } else {
                "the controller's; is another broker running? It is 10,000 above the clients' if not in `listeners`"
            };
            format!("\n  {flag}")
        }
        StartError::Identity(_) => {
            "\n  start it with the configuration it was made with, or in another directory (--data DIR)".to_owned()
        }
        _ => String::new(),
    };
    format!("{error}{hint}")
}

/// Who may ask it to stop: signals, and the process that started it, by its end.
struct Ends {
    signals: StopSignals,
    #[cfg(unix)]
    parent: Option<tokio::net::unix::pipe::Receiver>,
}

impl Ends {
    #[cfg(unix)]
    fn new(of_parent: bool) -> std::io::Result<Self> {
        use std::os::fd::AsFd as _;
        let parent = if of_parent {
            let input = std::io::stdin().as_fd().try_clone_to_owned()?;
            Some(tokio::net::unix::pipe::Receiver::from_owned_fd(input)?)
        } else {
            None
        };
        Ok(Self { signals: StopSignals::new()?, parent })
    }

    #[cfg(not(unix))]
    fn new(_: bool) -> std::io::Result<Self> {
        Ok(Self { signals: StopSignals::new()? })
    }

    /// Who asks next.
    #[cfg(unix)]
    async fn asked(&mut self) -> &'static str {
        let signal = pin!(self.signals.next());
        let Some(parent) = &self.parent else { return signal.await };
        let by = match select(signal, pin!(end_of(parent))).await {
            Either::Left((by, _)) => by,
            Either::Right(_) => "the end of the process that started it",
        };
        self.parent = None;
        by
    }

    #[cfg(not(unix))]
    async fn asked(&mut self) -> &'static str {
        self.signals.next().await
    }
}

/// Waits until nobody can write to the pipe any more.
#[cfg(unix)]
async fn end_of(pipe: &tokio::net::unix::pipe::Receiver) {
    let mut buffer = [0; 64];
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
