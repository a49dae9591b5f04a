//! One run in a process of its own: statics are fresh, a hang can be ended, a crash takes nobody with it.
//!
//! [`Ask`] says what to run, [`Ask::run`] waits for it, [`Answer`] is what became of it. The process is `simctl run` with
//! `--one-of-many`, which prints one [`Line`].

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use harness::report::{Verdict, command_options, shell_word};

use crate::cli::RunArguments;
use crate::interrupt;
use crate::line::Line;
use crate::machine::{self, Stopwatch};

/// A run.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The scenario.
    pub file: PathBuf,
    /// The seed.
    pub seed: u64,
    /// Values put over the scenario's.
    pub sets: Vec<String>,
    /// The planted bug.
    pub plant: Option<String>,
    /// Where its folder goes.
    pub out: PathBuf,
    /// Whether it has a folder even if it passes.
    pub keep: bool,
    /// Whose events go into its folder's trace.
    pub trace: Option<Vec<String>>,
    /// Whether it starts on a heap of holes, so that addresses come in another order than in the run it is compared with.
    pub second: bool,
    /// Events to tell, with all checkpoints.
    pub window: Option<Range<u64>>,
    /// How much CPU time it may take, or five times as much wall time.
    pub limit: Duration,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its exit code; 70 if it had none.
    pub code: u8,
    /// What it told.
    pub line: Option<Line>,
    /// The last line it said beside that, or how it ended.
    pub last_words: String,
    /// Whether it was ended because it took too long.
    pub hung: bool,
    /// Whether it was ended because nobody wants to wait any more.
    pub dropped: bool,
    /// Wall time, seconds.
    pub wall_s: f64,
}

impl Ask {
    /// One of the runs of `simctl run` with several seeds.
    pub fn of_run(arguments: &RunArguments, file: &Path, seed: u64) -> Self {
        Self {
            file: file.to_owned(),
            seed,
            sets: arguments.sets.clone(),
            plant: arguments.plant.clone(),
            out: arguments.out.clone(),
            keep: true,
            trace: arguments.trace.clone(),
            second: false,
            window: None,
            limit: Duration::from_nanos(arguments.timeout),
        }
    }

    /// The same run once more: another process, another heap, no folder.
    pub fn again(&self) -> Self {
        Self { keep: false, trace: None, second: true, ..self.clone() }
    }

    /// The same run, telling these events and every checkpoint.
    pub fn telling(&self, window: Range<u64>) -> Self {
        Self { window: Some(window), keep: false, trace: None, ..self.clone() }
    }

    /// What a user types to repeat it, for a run that could not say so itself.
    pub fn command(&self) -> String {
        let file = shell_word(&self.file.display().to_string());
        format!("simctl run {file} --seed {}{}", self.seed, command_options(&self.sets, self.plant.as_deref()))
    }

    fn process(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("run").arg(&self.file).arg("--seed").arg(self.seed.to_string()).arg("--one-of-many");
        command.arg("--out").arg(&self.out);
        for set in &self.sets {
            command.arg("--set").arg(set);
        }
        if let Some(plant) = &self.plant {
            command.arg("--plant").arg(plant);
        }
        if let Some(hosts) = &self.trace {
            command.arg(format!("--trace={}", hosts.join(",")));
        }
        if self.keep {
            command.arg("--keep");
        }
        if self.second {
            command.arg("--second");
        }
        if let Some(window) = &self.window {
            command.arg(format!("--window={}..{}", window.start, window.end));
        }
        // In a group of its own: a terminal's Ctrl-C is for the sweep, which lets its runs finish.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, program: &Path) -> io::Result<Answer> {
        let (mut reader, writer) = io::pipe()?;
        let mut command = self.process(program);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let watch = Stopwatch::start();
        let mut child = command.spawn()?;
        // Its ends of the pipe are now the only ones.
        drop(command);
        let (said, words) = channel();
        let read = std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let mut bytes = Vec::new();
            let read = reader.read_to_end(&mut bytes);
            drop(said.send(read.map(|_| bytes)));
        })?;
        let (mut hung, mut dropped) = (false, false);
        let bytes = loop {
            match words.recv_timeout(Duration::from_millis(200)) {
                Ok(bytes) => break bytes?,
                Err(RecvTimeoutError::Disconnected) => break Vec::new(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let limit = self.limit.as_secs_f64();
            let late = watch.seconds() > limit
                && (watch.seconds() > 5.0 * limit || machine::cpu_s_of(child.id()).is_none_or(|cpu_s| cpu_s > limit));
            dropped |= interrupt::insisted();
            hung |= late && !dropped;
            if late || dropped {
                // It may have ended this moment.
                drop(child.kill());
            }
        };
        let status = child.wait()?;
        drop(read.join());
        let said = String::from_utf8_lossy(&bytes);
        let line = Line::parse(&said);
        let last = said.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with('{'));
        Ok(Answer {
            code: code(status),
            last_words: last.map_or_else(|| how_it_ended(status), str::to_owned),
            line,
            hung,
            dropped,
            wall_s: watch.seconds(),
        })
    }
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Verdict::Bug.exit_code())
}

fn how_it_ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let hint = if signal == 9 { ": out of memory?" } else { "" };
        return format!("ended by signal {signal}{hint}");
    }
    format!("ended with {status} and no word")
}

/// Makes holes in the heap, so that what is allocated from now on lies in another order than in a run that does not.
///
/// Code that orders by address gives the same order in two processes that allocate alike; after this it does not.
pub fn stir() {
    let mut draw = 0x9e37_79b9_7f4a_7c15_u64;
    let mut kept = Vec::new();
    let mut freed = Vec::new();
    for index in 0..4_096_u64 {
        draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(index);
        // From small to large, as a broker's own.
        let size = 16_u64 << ((draw >> 33) % 9);
        let block = vec![1_u8; usize::try_from(size).unwrap_or(16)].into_boxed_slice();
        if draw >> 63 == 0 { kept.push(block) } else { freed.push(block) }
    }
    // Freed in another order than made: free lists hand them out from the last.
    freed.sort_by_key(|block| block.len());
    drop(freed);
    std::mem::forget(kept);
}
