//! What can be typed.

use std::path::PathBuf;

use clap::Args;

/// `wavetank-broker`, `simctl serve`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Without arguments: one node, broker and controller in one, for clients at 127.0.0.1:9092, with its
data in ./data. Controllers talk on the port 10,000 above.

Examples, behind `wavetank-broker` or `simctl serve`:
  --listen 0.0.0.0:9092 --set advertised.listeners=PLAINTEXT://kafka.example.com:9092
  --brokers 3                            a cluster on this machine: ports 9092 to 9094, data/1 to data/3
  --config server.properties             Kafka's own file, or the same names in TOML (server.toml)
  --set log.segment.bytes=67108864       one property; wins over the file
  --log debug,transport=info --metrics 127.0.0.1:9404

A configuration file:
  node.id = 1                                     # TOML; in .properties without the quotes
  process.roles = [\"broker\", \"controller\"]
  listeners = [\"PLAINTEXT://127.0.0.1:9092\", \"CONTROLLER://127.0.0.1:19092\"]
  controller.quorum.voters = [\"1@127.0.0.1:19092\"]
  log.dirs = \"data\"

Signals: SIGTERM or SIGINT hands leadership over, closes the logs and ends; a second one ends at once.
Exit codes: 0 stopped in good order; 1 could not start or go on, or was stopped hard; 2 bad usage."
)]
pub struct Arguments {
    /// Kafka's properties, in TOML (*.toml) or as .properties
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A Kafka property; wins over the file and over the defaults
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub sets: Vec<String>,
    /// Where clients connect [default: 127.0.0.1:9092]; the short form of `listeners`
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port, conflicts_with = "config")]
    pub listen: Option<(String, u16)>,
    /// Where the data are [default: data]; the short form of `log.dirs`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run a cluster of N processes on this machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    pub brokers: Option<u16>,
    /// What is logged to standard error: error, warn, info, debug or trace; also per part: info,broker=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// How it is logged
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Serve Prometheus metrics here, at /metrics; with --brokers each node one port further
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub metrics: Option<(String, u16)>,
    /// For `--brokers` itself: this is one of its processes, which ends when its standard input does
    #[arg(long, hide = true)]
    pub one_of_many: bool,
}

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.filter(|(_, port)| *port > 0).ok_or_else(|| "the form is HOST:PORT, like 127.0.0.1:9092".to_owned())
}
