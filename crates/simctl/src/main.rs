//! The command line: reads scenario files, runs them, writes reports, and ends with an honest exit code.
//!
//! [`cli::Cli`] is what can be typed; each command has its file. Several runs are one process each ([`sweep`]). Everything
//! that touches files, terminals and the real clock is here, so that `harness` stays a function of scenario and seed.

mod check;
mod child;
mod cli;
mod divergence;
mod explain;
mod folder;
mod interrupt;
mod line;
mod list;
mod load;
mod machine;
mod run;
mod sweep;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use terminal::Terminal;

/// Bad usage or a bad scenario; nothing ran.
const USAGE: u8 = 2;
/// A bug of this program.
const BUG: u8 = 70;

const SERVE: server::Program =
    server::Program { name: "simctl serve", version: env!("CARGO_PKG_VERSION"), words: &["serve"] };

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; everything else is bad usage.
            let code = if error.use_stderr() { USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    if let Command::Serve(arguments) = &cli.command {
        return server::serve(&SERVE, arguments);
    }
    let mut terminal = Terminal::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match cli.command {
        Command::Run(arguments) => run::run(&arguments, &mut terminal),
        Command::Sweep(arguments) => sweep::sweep(&arguments, &mut terminal),
        Command::Check(arguments) => check::check(&arguments, &mut terminal),
        Command::Explain(arguments) => explain::explain(&arguments, &mut terminal),
        Command::List(arguments) => list::list(&arguments, &mut terminal),
        Command::Serve(_) => unreachable!("served above"),
    }));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Ok(Err(error)) => {
            terminal.error(&format!("error: {error}"));
            BUG
        }
        Err(_) => {
            terminal.error("error: this is a bug of simctl; the lines above say where");
            BUG
        }
    };
    ExitCode::from(code)
}
