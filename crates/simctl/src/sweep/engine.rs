//! Runs jobs on a few threads, each of which waits for one process at a time, and hands what is done to the caller.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::child::{Answer, Ask};
use crate::divergence::{self, Parting};

use super::patience;

/// One seed of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Which file.
    pub file: usize,
    /// The seed.
    pub seed: u64,
    /// Whether it runs twice, to compare the traces.
    pub twice: bool,
}

/// What came of a job.
pub struct Done {
    /// The job.
    pub job: Job,
    /// Of the first run.
    pub answer: Answer,
    /// Whether it ran twice.
    pub compared: bool,
    /// Where the second run went another way, if it did.
    pub parting: Option<Parting>,
}

impl Done {
    /// Why it did not pass, in one line.
    pub fn why(&self) -> String {
        if self.answer.hung {
            return format!("no end after {}: killed", patience(self.answer.wall_s));
        }
        if let Some(parting) = &self.parting {
            return parting.short();
        }
        match &self.answer.line {
            Some(line) => line.why.clone(),
            None => self.answer.last_words.clone(),
        }
    }
}

/// Threads that wait for processes.
pub struct Engine<'a> {
    jobs: Vec<Job>,
    at_once: usize,
    ask: &'a (dyn Fn(usize, u64) -> Ask + Sync),
    program: PathBuf,
}

impl<'a> Engine<'a> {
    /// For these jobs, in this order.
    pub fn new(jobs: Vec<Job>, at_once: usize, ask: &'a (dyn Fn(usize, u64) -> Ask + Sync)) -> io::Result<Self> {
        Ok(Self { at_once: at_once.clamp(1, jobs.len().max(1)), jobs, ask, program: std::env::current_exe()? })
    }

    /// Runs them. `step` is called with each that is done, and a few times a second without; once it returns `false`, no more
    /// are begun.
    pub fn run(&self, mut step: impl FnMut(Option<Done>) -> io::Result<bool>) -> io::Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let (sender, done) = channel();
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                let sender = sender.clone();
                let (next, stop) = (&next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed)
                        && let Some(job) = self.jobs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if sender.send(self.one(*job)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            loop {
                let goes_on = match done.recv_timeout(Duration::from_millis(200)) {
                    Ok(result) => result.and_then(|result| step(Some(result))),
                    Err(RecvTimeoutError::Timeout) => step(None),
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                };
                if !matches!(goes_on, Ok(true)) {
                    stop.store(true, Ordering::Relaxed);
                }
                goes_on?;
            }
        })
    }

    fn one(&self, job: Job) -> io::Result<Done> {
        let ask = (self.ask)(job.file, job.seed);
        if !job.twice {
            return Ok(Done { job, answer: ask.run(&self.program)?, compared: false, parting: None });
        }
        // No events, but every checkpoint.
        let answer = Ask { window: Some(0..0), ..ask.clone() }.run(&self.program)?;
        let Some(line) = &answer.line else {
            return Ok(Done { job, answer, compared: false, parting: None });
        };
        let other = ask.again().telling(0..0).run(&self.program)?;
        let parting = match &other.line {
            _ if other.dropped || other.hung => None,
            Some(other) if other.trace != line.trace => Some(divergence::find(&ask, &self.program, line, other)?),
            Some(_) => None,
            // One came to its end and the other did not: that is a difference too.
            None => Some(Parting::Ended { last_words: other.last_words }),
        };
        Ok(Done { job, answer, compared: true, parting })
    }
}
