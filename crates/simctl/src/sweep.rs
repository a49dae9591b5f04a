//! Several runs: one process each, as many at a time as there are cores, one line for each that did not pass.
//!
//! A run's process ends with its exit code and prints one [`Line`]; what it says beside that is shown if it failed.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::report::{Cost, RunResult, Verdict, bytes, duration};
use harness::scenario::Reading;

use crate::cli::{RunArguments, Seeds};
use crate::interrupt;
use crate::machine::Meter;
use crate::terminal::Terminal;

/// What one run of many tells, as one line of JSON.
pub struct Line {
    /// The seed.
    pub seed: u64,
    /// The trace's hash.
    pub trace: String,
    /// Why it did not pass.
    pub why: String,
    /// The worst unavailability after a fault, ns.
    pub unavailable_ns: u64,
    /// The most memory, bytes.
    pub peak_bytes: u64,
}

impl Line {
    /// The line of a result.
    pub fn of(result: &RunResult, cost: &Cost) -> Self {
        let mut why = result.why.join(" ");
        if let Some((check, violation)) = result.violation() {
            why = format!("{} — {}", check.slug, violation.claim);
        } else if let Some(crash) = result.crashes.first() {
            why = format!("{} {}", crash.host, crash.message);
        } else {
            let bad = result.slo.iter().filter(|row| row.verdict == harness::report::SloVerdict::Missed);
            let bad: Vec<String> = bad
                .map(|row| {
                    format!(
                        "{}: {}{}",
                        row.expr,
                        row.value,
                        row.why.as_ref().map_or(String::new(), |why| format!(" ({why})"))
                    )
                })
                .collect();
            if !bad.is_empty() {
                why = bad.join("; ");
            }
        }
        Self {
            seed: result.seed,
            trace: result.trace_hash.clone(),
            why,
            unavailable_ns: result.measured.faults.iter().map(|row| row.unavailable_ns).max().unwrap_or(0),
            peak_bytes: cost.peak_bytes,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "seed": self.seed,
            "trace": self.trace,
            "why": self.why,
            "unavailable_ns": self.unavailable_ns,
            "peak_bytes": self.peak_bytes,
        })
        .to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().rev().find(|line| line.starts_with('{'))?;
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(Self {
            seed: value.get("seed")?.as_u64()?,
            trace: value.get("trace")?.as_str()?.to_owned(),
            why: value.get("why")?.as_str()?.to_owned(),
            unavailable_ns: value.get("unavailable_ns")?.as_u64()?,
            peak_bytes: value.get("peak_bytes")?.as_u64()?,
        })
    }
}

struct Running {
    child: Child,
    file: usize,
    seed: u64,
}

/// What became of all runs.
#[derive(Default)]
struct Tally {
    done: usize,
    worst: u8,
    counts: std::collections::BTreeMap<u8, usize>,
    unavailable_ns: Vec<u64>,
    peak_bytes: u64,
}

/// Exit codes from the worst to the best.
const WORST_FIRST: [u8; 7] = [70, 5, 1, 6, 4, 3, 0];

fn worse(one: u8, two: u8) -> u8 {
    let rank = |code: u8| WORST_FIRST.iter().position(|known| *known == code).unwrap_or(0);
    if rank(one) <= rank(two) { one } else { two }
}

/// Runs every file with every seed.
pub fn sweep(arguments: &RunArguments, readings: &[Reading], seeds: Seeds, terminal: &mut Terminal) -> io::Result<u8> {
    let (from, to) = match seeds {
        Seeds::One(seed) => (seed, seed + 1),
        Seeds::Range(from, to) => (from, to),
    };
    let mut jobs = Vec::new();
    for file in 0..arguments.files.len() {
        jobs.extend((from..to).map(|seed| (file, seed)));
    }
    let total = jobs.len();
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let program = std::env::current_exe()?;
    let meter = Meter::start();
    let mut jobs = jobs.into_iter();
    let mut running: Vec<Running> = Vec::new();
    let mut tally = Tally::default();
    loop {
        while running.len() < at_once
            && !interrupt::asked()
            && let Some((file, seed)) = jobs.next()
        {
            running.push(start(&program, arguments, file, seed)?);
        }
        if running.is_empty() {
            break;
        }
        let mut index = 0;
        while index < running.len() {
            match running[index].child.try_wait()? {
                None => index += 1,
                Some(status) => {
                    let ended = running.swap_remove(index);
                    let code =
                        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Verdict::Bug.exit_code());
                    report(arguments, readings, ended, code, &mut tally, terminal)?;
                }
            }
        }
        let failed = tally.done - tally.counts.get(&0).copied().unwrap_or(0);
        let seconds = meter.cost().wall_s;
        terminal.progress(&format!("  {} of {total} runs, {failed} not passed, {seconds:.0}s", tally.done));
        wait();
    }
    terminal.clear();
    let interrupted = tally.done < total;
    terminal.say(&totals(&mut tally, interrupted, &meter))?;
    if interrupted {
        terminal.say(&format!("interrupted after {} of {total} runs; the rest was not run", tally.done))?;
    }
    let files: Vec<String> = arguments.files.iter().map(|file| file.display().to_string()).collect();
    let mut command = format!("simctl run {} --seed {from}..{to}", files.join(" "));
    for set in &arguments.sets {
        command.push_str(&format!(" --set '{set}'"));
    }
    if let Some(plant) = &arguments.plant {
        command.push_str(&format!(" --plant {plant}"));
    }
    terminal.say(&format!("again  {command}"))?;
    Ok(if interrupted { interrupt::CODE } else { tally.worst })
}

#[expect(clippy::disallowed_methods, reason = "waits for other processes; no world runs in this one")]
fn wait() {
    std::thread::sleep(std::time::Duration::from_millis(5));
}

fn start(program: &Path, arguments: &RunArguments, file: usize, seed: u64) -> io::Result<Running> {
    let mut command = Command::new(program);
    command.arg("run").arg(&arguments.files[file]).arg("--seed").arg(seed.to_string()).arg("--one-of-many");
    command.arg("--out").arg(&arguments.out);
    for set in &arguments.sets {
        command.arg("--set").arg(set);
    }
    if let Some(plant) = &arguments.plant {
        command.arg("--plant").arg(plant);
    }
    if let Some(hosts) = &arguments.trace {
        command.arg(format!("--trace={}", hosts.join(",")));
    }
    // In a group of its own: a terminal's Ctrl-C is for the sweep, which lets its runs finish.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(Running { child, file, seed })
}

fn report(
    arguments: &RunArguments,
    readings: &[Reading],
    mut ended: Running,
    code: u8,
    tally: &mut Tally,
    terminal: &mut Terminal,
) -> io::Result<()> {
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(mut pipe) = ended.child.stdout.take() {
        pipe.read_to_string(&mut out)?;
    }
    if let Some(mut pipe) = ended.child.stderr.take() {
        pipe.read_to_string(&mut err)?;
    }
    tally.done += 1;
    tally.worst = if tally.done == 1 { code } else { worse(tally.worst, code) };
    *tally.counts.entry(code).or_insert(0) += 1;
    let line = Line::parse(&out);
    if let Some(line) = &line {
        tally.unavailable_ns.push(line.unavailable_ns);
        tally.peak_bytes = tally.peak_bytes.max(line.peak_bytes);
    }
    let name = &readings[ended.file].scenario.name;
    let word = match code {
        0 => "pass",
        1 => "FAIL",
        3 => "slo",
        4 => "inconclusive",
        5 => "nondeterministic",
        _ => "BUG",
    };
    let why = match &line {
        Some(line) => line.why.clone(),
        None => err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word from it").to_owned(),
    };
    if code != 0 || arguments.verbose {
        let trace =
            line.as_ref().map_or(String::new(), |line| format!("  trace:{}", line.trace.get(..8).unwrap_or_default()));
        let text = format!("  {word:<12} {name}  seed {}{trace}  {why}", ended.seed);
        terminal.say(text.trim_end())?;
    }
    Ok(())
}

fn totals(tally: &mut Tally, interrupted: bool, meter: &Meter) -> String {
    let total = tally.done;
    let count = |code: u8| tally.counts.get(&code).copied().unwrap_or(0);
    let known: usize = [0, 1, 3, 4, 5].map(count).iter().sum();
    let mut text = format!(
        "{total} runs: {} passed, {} failed, {} missed an objective, {} inconclusive, {} nondeterministic, {} bugs\n",
        count(0),
        count(1),
        count(3),
        count(4),
        count(5),
        total - known
    );
    tally.unavailable_ns.sort_unstable();
    if let (Some(median), Some(worst)) =
        (tally.unavailable_ns.get(tally.unavailable_ns.len() / 2), tally.unavailable_ns.last())
    {
        text.push_str(&format!(
            "unavailable after a fault: median {}, worst {}\n",
            duration(*median),
            duration(*worst)
        ));
    }
    let word = match tally.worst {
        0 if interrupted => "INTERRUPTED",
        0 => "PASS",
        4 => "INCONCLUSIVE",
        _ => "FAIL",
    };
    let exit = if tally.worst == 0 { String::new() } else { format!("   (exit {})", tally.worst) };
    text.push_str(&format!("{word}{exit}\n"));
    text.push_str(&format!(
        "cost   wall {:.1}s  memory {} at most in one run",
        meter.cost().wall_s,
        bytes(tally.peak_bytes)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_is_not_the_largest() {
        assert_eq!(worse(3, 1), 1);
        assert_eq!(worse(1, 5), 5);
        assert_eq!(worse(4, 3), 4);
        assert_eq!(worse(0, 3), 3);
        assert_eq!(worse(70, 1), 70);
        assert_eq!(worse(101, 1), 101, "an unknown code is worse than any known");
    }

    #[test]
    fn a_line_reads_back() {
        let line = Line { seed: 7, trace: "abc".into(), why: "it \"broke\"".into(), unavailable_ns: 5, peak_bytes: 9 };
        let back = Line::parse(&format!("noise\n{}\n", line.to_json())).unwrap();
        assert_eq!((back.seed, back.why), (7, "it \"broke\"".to_owned()));
    }
}
