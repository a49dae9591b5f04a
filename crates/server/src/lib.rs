//! A node as a program: what `wavetank-broker` and `simctl serve` both are.
//!
//! ```text
//! Arguments ─► properties (files, --set) ─► Settings ─► node: lock, Broker::start, signals, Broker::stop
//!          └─► --brokers N ─► cluster: N processes of this program, one node each
//! ```
//!
//! [`Arguments`] is what can be typed, [`serve`] does it and says how the process is to end. [`problem`] shows what is wrong
//! with a configuration at its very line. Deliberately absent: everything that a simulated broker does as well; that is in
//! `broker`.

mod arguments;
mod cluster;
mod logging;
pub mod metrics;
mod node;
pub mod problems;
pub mod properties;
pub mod settings;

use std::io::Write as _;
use std::process::ExitCode;

pub use arguments::{Arguments, LogFormat};

/// Bad usage or a bad configuration; nothing was started.
const USAGE: u8 = 2;

/// The program that is running.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// How the user calls it: `wavetank-broker`, `simctl serve`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What stands between the executable and [`Arguments`]: `serve`.
    pub words: &'static [&'static str],
}

/// Runs a node, or several, until they are asked to stop. Exit codes: 0 stopped in good order, 1 could not start or go on,
/// or was stopped hard, 2 bad usage.
pub fn serve(program: &Program, arguments: &Arguments) -> ExitCode {
    if let Err(problem) = logging::start(&arguments.log, arguments.log_format) {
        say_error(&problem);
        return ExitCode::from(USAGE);
    }
    match arguments.brokers {
        Some(count) if count > 1 => cluster::run(program, arguments, count),
        _ => one(program, arguments),
    }
}

fn one(program: &Program, arguments: &Arguments) -> ExitCode {
    let read = match settings::read(arguments) {
        Ok(read) => read,
        Err(problem) => {
            say_error(&problem);
            return ExitCode::from(USAGE);
        }
    };
    let said = read.problems.render(&read.sources, styled());
    drop(write!(std::io::stderr(), "{said}"));
    match read.settings {
        Some(settings) => node::run(program, arguments, settings),
        None => {
            say_error("nothing was started");
            ExitCode::from(USAGE)
        }
    }
}

/// A line to standard output, which may be closed.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

fn say_error(line: &str) {
    drop(writeln!(std::io::stderr(), "error: {line}"));
}

#[expect(clippy::disallowed_methods, reason = "NO_COLOR is how a terminal's user says so")]
fn styled() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var("NO_COLOR").is_err()
}
