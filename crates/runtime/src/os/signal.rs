//! Being asked to stop: SIGTERM and SIGINT.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears every SIGTERM and SIGINT from its making on; they no longer end the process by themselves.
#[derive(Debug)]
pub struct StopSignals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
}

#[cfg(unix)]
impl StopSignals {
    /// Begins to listen. Inside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
impl StopSignals {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// The next Ctrl-C.
    pub async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

/// Asks another process to end: by SIGTERM, or by SIGKILL if it is to end at once.
#[cfg(unix)]
pub fn ask_to_end(process: u32, at_once: bool) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(process, if at_once { Signal::KILL } else { Signal::TERM })?)
}

/// Asks another process to end.
#[cfg(not(unix))]
pub fn ask_to_end(_: u32, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
