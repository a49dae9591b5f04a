//! `--brokers N`: a cluster of N processes of this program, on this machine.
//!
//! Node i listens at the port `--listen` + i - 1, its controller 10,000 above, and keeps its data in `DATA/i`. What a node
//! says is passed on with its name before it. SIGTERM and SIGINT go to all; a second one kills what is left. A node that
//! ends by itself is told, with the command that starts it again; the others go on.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitCode, ExitStatus, Stdio};

use futures_util::future::{Either, select};
use protocol::Uuid;
use rand::Rng as _;
use runtime::os::{self, StopSignals};
use runtime::{Env, Inbox, Post, inbox};
use storage::MetaProperties;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::node::READY;
use crate::settings::{CONTROLLER_PORTS, DATA, LISTEN};
use crate::{Arguments, LogFormat, Program, USAGE, say, say_error};

/// Runs the cluster until all its nodes have ended.
pub fn run(program: &Program, arguments: &Arguments, count: u16) -> ExitCode {
    os::run(".", None, |env| async move {
        match plan(&env, program, arguments, count) {
            Ok(plan) => Cluster::run(env, plan).await,
            Err(problem) => {
                say_error(&problem);
                ExitCode::from(USAGE)
            }
        }
    })
}

/// What is to be started.
struct Plan {
    executable: PathBuf,
    /// Of each node.
    arguments: Vec<Vec<String>>,
    /// What clients are told.
    bootstrap: String,
    data: PathBuf,
    /// Whether lines get the node's name before them.
    prefixed: bool,
    introduction: String,
}

fn plan(env: &Env, program: &Program, given: &Arguments, count: u16) -> Result<Plan, String> {
    let executable = std::env::current_exe().map_err(|error| format!("failed to find this program: {error}"))?;
    let data = given.data.clone().unwrap_or_else(|| DATA.into());
    let (host, port) = given.listen.clone().unwrap_or_else(|| (LISTEN.0.to_owned(), LISTEN.1));
    if data.join("meta.properties").exists() {
        return Err(format!(
            "{0} is the directory of one broker, not of a cluster; another one: --data DIR",
            data.display()
        ));
    }
    if u32::from(port) + u32::from(CONTROLLER_PORTS) + u32::from(count) > 65_536 {
        return Err(format!("port {port} leaves none for the controllers, {CONTROLLER_PORTS} above"));
    }
    let cluster = cluster_id(env, &data, count)?;
    let voters: Vec<String> =
        (1..=count).map(|id| format!("{id}@{host}:{}", port + CONTROLLER_PORTS + id - 1)).collect();
    let replicas = count.min(3);
    let mut arguments = Vec::new();
    for id in 1..=count {
        let client = port + id - 1;
        let mut words: Vec<String> = program.words.iter().map(|word| (*word).to_owned()).collect();
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        if let Some(config) = &given.config {
            option("config", config.display().to_string());
        }
        option("log", given.log.clone());
        if given.log_format == LogFormat::Json {
            option("log-format", "json".to_owned());
        }
        if let Some((host, port)) = &given.metrics {
            option("metrics", format!("{host}:{}", port + id - 1));
        }
        // What a cluster for trying out should have; a file or --set may say otherwise.
        if given.config.is_none() {
            option("set", format!("default.replication.factor={replicas}"));
            option("set", format!("min.insync.replicas={}", if replicas > 1 { replicas - 1 } else { 1 }));
        }
        given.sets.iter().for_each(|set| option("set", set.clone()));
        option("set", format!("node.id={id}"));
        option("set", "process.roles=broker,controller".to_owned());
        option("set", format!("cluster.id={cluster}"));
        option("set", "controller.listener.names=CONTROLLER".to_owned());
        let controller = client + CONTROLLER_PORTS;
        option("set", format!("listeners=PLAINTEXT://{host}:{client},CONTROLLER://{host}:{controller}"));
        option("set", format!("controller.quorum.voters={}", voters.join(",")));
        option("set", format!("log.dirs={}", data.join(id.to_string()).display()));
        arguments.push(words);
    }
    let bootstrap: Vec<String> = (0..count).map(|id| format!("{host}:{}", port + id)).collect();
    let Program { name, version, .. } = program;
    let introduction = format!("{name} {version}: {count} nodes of cluster {cluster}");
    let prefixed = given.log_format == LogFormat::Text;
    Ok(Plan { executable, arguments, bootstrap: bootstrap.join(","), data, prefixed, introduction })
}

/// The cluster that the directories belong to, or a new one.
#[expect(clippy::disallowed_methods, reason = "the nodes are other processes; this one only starts them")]
fn cluster_id(env: &Env, data: &Path, count: u16) -> Result<String, String> {
    for id in 1..=count {
        let file = data.join(id.to_string()).join("meta.properties");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let properties = MetaProperties::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
        return Ok(properties.cluster_id);
    }
    let mut rng = env.rng("cluster-id");
    Ok(Uuid::from_halves(rng.next_u64(), rng.next_u64()).to_string())
}

/// What a node's process did.
enum Event {
    /// It serves.
    Ready,
    /// It ended.
    Ended(usize, std::io::Result<ExitStatus>),
}

struct Cluster {
    plan: Plan,
    /// The process of each node, by its id - 1, while it runs.
    processes: Vec<Option<u32>>,
    ready: usize,
    stopping: bool,
    /// Whether a node ended otherwise than in good order.
    failed: bool,
}

impl Cluster {
    async fn run(env: Env, plan: Plan) -> ExitCode {
        let mut signals = match StopSignals::new() {
            Ok(signals) => signals,
            Err(error) => {
                say_error(&format!("failed to listen to signals: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let (events, mut happened) = inbox(usize::MAX);
        let mut cluster =
            Self { processes: vec![None; plan.arguments.len()], plan, ready: 0, stopping: false, failed: false };
        for index in 0..cluster.processes.len() {
            if let Err(error) = cluster.start(&env, index, &events) {
                say_error(&format!("failed to start node {}: {error}", index + 1));
                cluster.failed = true;
                cluster.ask(Signal::Stop);
                break;
            }
        }
        drop(events);
        cluster.supervise(&mut signals, &mut happened).await;
        if cluster.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn start(&mut self, env: &Env, index: usize, events: &Post<Event>) -> std::io::Result<()> {
        let mut command = Command::new(&self.plan.executable);
        command.args(&self.plan.arguments[index]).arg("--one-of-many");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal comes to this process only, which passes it on.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        self.processes[index] = child.id();
        let name = if self.plan.prefixed { format!("b{} | ", index + 1) } else { String::new() };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (told, ready) = (events.clone(), events.clone());
        let (of_out, of_err) = (name.clone(), name);
        let out = env.spawn("output", async move {
            pass_on(out, |line| if line == READY { ready.post(Event::Ready) } else { say(&format!("{of_out}{line}")) })
                .await;
        });
        let err = env.spawn("errors", async move {
            pass_on(err, |line| {
                drop(std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{of_err}{line}\n")))
            })
            .await;
        });
        env.spawn_detached("node", async move {
            let ended = wait(&mut child).await;
            // Its last words come before its end.
            out.join().await;
            err.join().await;
            told.post(Event::Ended(index, ended));
        });
        Ok(())
    }

    async fn supervise(&mut self, signals: &mut StopSignals, happened: &mut Inbox<Event>) {
        while self.processes.iter().any(Option::is_some) {
            let event = match select(pin!(signals.next()), pin!(happened.recv())).await {
                Either::Left((_, _)) if self.stopping => {
                    say_error("stopped hard by a second signal: the next start recovers the logs");
                    self.failed = true;
                    self.ask(Signal::Kill);
                    continue;
                }
                Either::Left((by, _)) => {
                    tracing::info!(by, "stopping all nodes; once more kills them");
                    self.stopping = true;
                    self.ask(Signal::Stop);
                    continue;
                }
                Either::Right((None, _)) => return,
                Either::Right((Some(event), _)) => event,
            };
            match event {
                Event::Ready => {
                    self.ready += 1;
                    if self.ready == self.processes.len() {
                        self.introduce();
                    }
                }
                Event::Ended(index, how) => self.ended(index, how),
            }
        }
    }

    fn introduce(&self) {
        let Plan { introduction, data, bootstrap, .. } = &self.plan;
        let pid = |(index, process): (usize, &Option<u32>)| process.map(|pid| format!("b{} {pid}", index + 1));
        let pids: Vec<String> = self.processes.iter().enumerate().filter_map(pid).collect();
        say(&format!("{introduction}, data in {}, processes {}", data.display(), pids.join(", ")));
        say(&format!("connect with bootstrap.servers={bootstrap}"));
    }

    fn ended(&mut self, index: usize, how: std::io::Result<ExitStatus>) {
        self.processes[index] = None;
        let good = how.as_ref().is_ok_and(ExitStatus::success);
        self.failed |= !good;
        if self.stopping && good {
            return;
        }
        let how = how.map_or_else(|error| error.to_string(), |status| status.to_string());
        let left = self.processes.iter().flatten().count();
        let rest = match left {
            0 => "no node is left".to_owned(),
            _ if self.stopping => format!("{left} still stopping"),
            _ => format!("{left} go on; to start it again:\n  {}", self.command(index)),
        };
        say_error(&format!("node b{} ended ({how}): {rest}", index + 1));
    }

    fn command(&self, index: usize) -> String {
        let words = std::iter::once(self.plan.executable.display().to_string());
        let words = words.chain(self.plan.arguments[index].iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    }

    fn ask(&self, signal: Signal) {
        for process in self.processes.iter().flatten() {
            if let Err(error) = os::ask_to_end(*process, matches!(signal, Signal::Kill)) {
                tracing::warn!(process, %error, "could not signal a node");
            }
        }
    }
}

/// How a node is asked to end.
enum Signal {
    Stop,
    Kill,
}

/// The end of a process, also where waiting is interrupted.
async fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    // The child's standard input stays open as long as this process lives: its end is the child's sign to stop.
    let input = child.stdin.take();
    let status = child.wait().await;
    drop(input);
    status
}

async fn pass_on<R: AsyncRead + Unpin>(from: Option<R>, mut line: impl FnMut(&str)) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        line(&text);
    }
}
