//! One node, broker and controller in one, on the operating system: what `scripts/kcat-smoke` lets real clients judge.
//!
//! ```text
//! cargo run --example single -- DATA_DIR [HOST:PORT]        default 127.0.0.1:9092
//! ```
//!
//! The controller listens 10,000 ports above. SIGINT and SIGTERM stop it in good order; log lines go to standard error.

use std::pin::pin;
use std::process::ExitCode;

use broker::{Broker, Config, Release};
use futures_util::future::{Either, select};
use runtime::{Env, os};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(data), address) = (arguments.next(), arguments.next()) else {
        tracing::error!("usage: single DATA_DIR [HOST:PORT]");
        return ExitCode::from(2);
    };
    match config(address.as_deref().unwrap_or("127.0.0.1:9092")) {
        Ok(config) => os::run(data, None, |env| serve(env, config)),
        Err(problem) => {
            tracing::error!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn config(address: &str) -> Result<Config, String> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts.ok_or_else(|| format!("`{address}` is not HOST:PORT"))?;
    let controller = port.checked_add(10_000).ok_or_else(|| format!("port {port} leaves none for the controller"))?;
    let listeners = format!("PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}");
    let voters = format!("1@{host}:{controller}");
    let properties = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("listeners", &listeners),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", &voters),
        ("log.dirs", "log"),
    ];
    let problems = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Config::from_properties(properties).map_err(problems)
}

async fn serve(env: Env, config: Config) -> ExitCode {
    if let Env::Os(process) = &env {
        // In the world a panic is a crash of the process; so it is here.
        process.on_panic(|panic| {
            tracing::error!(task = panic.task, "{}", panic.message);
            std::process::abort();
        });
    }
    let mut broker = match Broker::start(env, config, Release::current()).await {
        Ok(broker) => broker,
        Err(error) => {
            tracing::error!("failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    for address in broker.addresses() {
        tracing::info!(%address, "listening");
    }
    let failed = {
        let (stop, failed) = (pin!(os::stop_signal()), pin!(broker.failed()));
        match select(stop, failed).await {
            Either::Left(_) => None,
            Either::Right((why, _)) => Some(why),
        }
    };
    if let Some(why) = failed {
        tracing::error!("cannot go on: {why}");
        return ExitCode::FAILURE;
    }
    tracing::info!("stopping");
    broker.stop().await;
    ExitCode::SUCCESS
}
