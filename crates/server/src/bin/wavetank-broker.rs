//! The server by itself: no simulator is linked in, and no planted bug.

use std::process::ExitCode;

use clap::Parser;
use server::{Arguments, Program};

const PROGRAM: Program = Program { name: "wavetank-broker", version: env!("CARGO_PKG_VERSION"), words: &[] };

/// The program.
#[derive(Parser, Debug)]
#[command(name = "wavetank-broker", version, about = "A Kafka-protocol broker and controller", long_about = None)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    server::serve(&PROGRAM, &Cli::parse().arguments)
}
