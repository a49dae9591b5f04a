//! What came of all runs: verdicts, what they failed in, faults, branches, figures, cost.

use std::collections::{BTreeMap, BTreeSet};

use harness::report::{bytes, count, duration, rate, words_of, wrap};

use super::engine::Done;
use super::figures::{Figure, Spread};
use super::table::{fault_words, signature};

/// How a run is judged here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Word {
    /// Everything judged, all held.
    Pass,
    /// A promise was broken, or a process crashed.
    Fail,
    /// Safe, but an objective was missed.
    Slo,
    /// Nothing was judged, or something was not reached.
    Inconclusive,
    /// The same seed, another trace.
    Nondeterministic,
    /// Killed: it did not end.
    Hung,
    /// `simctl` itself failed.
    Bug,
}

impl Word {
    const ALL: [Self; 7] =
        [Self::Pass, Self::Fail, Self::Slo, Self::Inconclusive, Self::Nondeterministic, Self::Hung, Self::Bug];

    /// Of a run.
    pub fn of(done: &Done) -> Self {
        match done.answer.code {
            _ if done.answer.hung => Self::Hung,
            _ if done.parting.is_some() => Self::Nondeterministic,
            0 if done.answer.line.is_some() => Self::Pass,
            1 => Self::Fail,
            3 => Self::Slo,
            4 => Self::Inconclusive,
            5 => Self::Nondeterministic,
            _ => Self::Bug,
        }
    }

    /// In the table and in totals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Slo => "slo",
            Self::Inconclusive => "inconclusive",
            Self::Nondeterministic => "nondeterministic",
            Self::Hung => "hung",
            Self::Bug => "bug",
        }
    }

    /// At the head of a line.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Hung => "HUNG",
            Self::Bug => "BUG",
            other => other.name(),
        }
    }

    /// The exit code of a run that ends so.
    const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Slo => 3,
            Self::Inconclusive => 4,
            Self::Nondeterministic => 5,
            // Neither has a result.
            Self::Hung | Self::Bug => 70,
        }
    }
}

/// Exit codes from the worst to the best.
const WORST_FIRST: [u8; 7] = [70, 5, 1, 6, 4, 3, 0];

fn worse(one: u8, two: u8) -> u8 {
    let rank = |code: u8| WORST_FIRST.iter().position(|known| *known == code).unwrap_or(0);
    if rank(one) <= rank(two) { one } else { two }
}

/// What the sweep took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SweepCost {
    /// Seconds on the wall's clock.
    pub wall_s: f64,
    /// CPU seconds of all runs, their processes' starts included; 0 where the kernel does not tell.
    pub cpu_s: f64,
}

/// One scenario's share.
#[derive(Clone, Debug, Default)]
struct OfScenario {
    name: String,
    counts: BTreeMap<Word, usize>,
    throughput: Figure,
    unavailable: Figure,
    recover: Figure,
    p99: Figure,
    memory: Figure,
    cpu: Figure,
}

/// Runs of one signature.
#[derive(Clone, Debug)]
struct Group {
    word: Word,
    runs: usize,
    scenario: String,
    first_seed: u64,
}

/// What came of all runs.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    scenarios: Vec<OfScenario>,
    done: usize,
    processes: usize,
    compared: usize,
    worst: u8,
    groups: BTreeMap<String, Group>,
    /// By word: runs in which it began, runs in which it had an effect.
    faults: BTreeMap<String, (usize, usize)>,
    reached: BTreeSet<String>,
    stuck: BTreeMap<String, usize>,
    peak_bytes: u64,
    virtual_s: f64,
    acked: u64,
    events: u64,
}

impl Totals {
    /// Of nothing yet.
    pub fn new(names: &[String]) -> Self {
        let scenarios = names.iter().map(|name| OfScenario { name: name.clone(), ..OfScenario::default() }).collect();
        Self { scenarios, ..Self::default() }
    }

    /// Takes in a run.
    pub fn add(&mut self, done: &Done) -> Word {
        let word = Word::of(done);
        let code = word.exit_code();
        self.worst = if self.done == 0 { code } else { worse(self.worst, code) };
        self.done += 1;
        self.processes += 1 + usize::from(done.compared);
        self.compared += usize::from(done.compared);
        let seed = done.job.seed;
        let scenario = &mut self.scenarios[done.job.file];
        *scenario.counts.entry(word).or_insert(0) += 1;
        if word != Word::Pass {
            let name = scenario.name.clone();
            let group = Group { word, runs: 0, scenario: name, first_seed: seed };
            let group = self.groups.entry(format!("{} {}", word.name(), signature(done))).or_insert(group);
            group.runs += 1;
        }
        let Some(line) = &done.answer.line else { return word };
        let nanos = |value: Option<u64>| value.map(|nanos| nanos as f64);
        scenario.throughput.add(line.throughput, seed);
        scenario.unavailable.add(nanos(line.unavailable_ns), seed);
        scenario.recover.add(nanos(line.recover_ns), seed);
        scenario.p99.add(line.latency_us.map(|latency| latency[1] as f64 * 1e3), seed);
        scenario.memory.add(Some(line.peak_bytes as f64), seed);
        scenario.cpu.add(Some(line.cpu_s * 1e9), seed);
        for (fault, hits) in &line.faults {
            let (began, mattered) = self.faults.entry(fault.clone()).or_default();
            *began += 1;
            *mattered += usize::from(*hits > 0);
        }
        self.reached.extend(line.reached.iter().cloned());
        if let Some(class) = &line.stuck {
            *self.stuck.entry(class.clone()).or_insert(0) += 1;
        }
        self.peak_bytes = self.peak_bytes.max(line.peak_bytes);
        self.virtual_s += line.virtual_ns as f64 / 1e9;
        self.acked += line.acked;
        self.events += line.events;
        word
    }

    /// How many are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// How many did not pass.
    pub fn not_passed(&self) -> usize {
        self.done - self.count(Word::Pass)
    }

    /// The exit code of all.
    pub fn worst(&self) -> u8 {
        self.worst
    }

    fn count(&self, word: Word) -> usize {
        self.scenarios.iter().map(|scenario| scenario.counts.get(&word).copied().unwrap_or(0)).sum()
    }

    /// A line that changes.
    pub fn progress(&self, total: usize, seconds: f64) -> String {
        let rate = self.done as f64 / seconds.max(1e-9);
        let mut text = format!("  {} of {total}", self.done);
        if self.done > 0 {
            text.push_str(&format!("  {rate:.1}/s  {} passed, {} not", self.count(Word::Pass), self.not_passed()));
            let rest = (total - self.done) as f64 / rate;
            text.push_str(&format!("  {} to go", clock(rest)));
        }
        text
    }

    /// Everything but the commands at the end. `full`: also faults, branches and figures.
    pub fn report(&self, cost: &SweepCost, interrupted: bool, full: bool) -> String {
        let mut lines = Vec::new();
        self.verdicts(&mut lines);
        if full {
            self.failures(&mut lines);
            self.figures(&mut lines);
            self.faults(&mut lines);
            self.stuck(&mut lines);
            self.branches(&mut lines);
        } else if let [only] = &self.scenarios[..]
            && let Some(spread) = only.unavailable.spread(false)
        {
            let (median, worst) = (duration(spread.median as u64), duration(spread.worst as u64));
            lines.push(format!("unavailable after a fault: median {median}, worst {worst}"));
        }
        lines.push(self.cost(cost));
        let word = match self.worst {
            0 if interrupted => "INTERRUPTED",
            0 if self.done == 0 => "INCONCLUSIVE",
            0 => "PASS",
            4 => "INCONCLUSIVE",
            _ => "FAIL",
        };
        let exit = if self.worst == 0 { String::new() } else { format!("   (exit {})", self.worst) };
        lines.push(format!("{word}{exit}"));
        lines.join("\n") + "\n"
    }

    fn verdicts(&self, lines: &mut Vec<String>) {
        let mut words = vec![
            format!("{} passed", self.count(Word::Pass)),
            format!("{} failed", self.count(Word::Fail)),
            format!("{} missed an objective", self.count(Word::Slo)),
            format!("{} inconclusive", self.count(Word::Inconclusive)),
            format!("{} nondeterministic", self.count(Word::Nondeterministic)),
            format!("{} hung", self.count(Word::Hung)),
            format!("{} bugs", self.count(Word::Bug)),
        ];
        if self.compared > 0 {
            words[4].push_str(&format!(" ({} run twice)", self.compared));
        }
        lines.extend(wrap(&format!("{} runs: ", self.done), &words, ", ", WIDTH));
        if self.scenarios.len() < 2 {
            return;
        }
        let width = self.scenarios.iter().map(|scenario| scenario.name.chars().count()).max().unwrap_or(0);
        for scenario in &self.scenarios {
            let words: Vec<String> = Word::ALL
                .iter()
                .filter_map(|word| Some(format!("{} {}", scenario.counts.get(word)?, word.name())))
                .collect();
            let unavailable = scenario.unavailable.spread(false).map_or(String::new(), |spread| {
                format!("   unavailable at most {} ({})", duration(spread.worst as u64), spread.seed)
            });
            let line = format!("  {:<width$}  {}{unavailable}", scenario.name, words.join(" · "));
            lines.push(line.trim_end().to_owned());
        }
    }

    fn failures(&self, lines: &mut Vec<String>) {
        let mut groups: Vec<(&String, &Group)> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.runs));
        let several = self.scenarios.len() > 1;
        for (index, (signature, group)) in groups.into_iter().enumerate() {
            let head = format!("  {:<8} {:>5}x ", if index == 0 { "failed" } else { "" }, group.runs);
            let signature = signature.strip_prefix(group.word.name()).unwrap_or(signature).trim();
            let of = if several { format!("{} ", group.scenario) } else { String::new() };
            let text = format!("{}: {signature}  (first {of}seed {})", group.word.shown(), group.first_seed);
            lines.extend(wrap(&head, &words_of(&text), " ", WIDTH));
        }
    }

    fn figures(&self, lines: &mut Vec<String>) {
        let [only] = &self.scenarios[..] else { return };
        let nanos = |value: f64| duration(value as u64);
        let per_second = |value: f64| rate(value);
        let size = |value: f64| bytes(value as u64);
        type Show<'a> = &'a dyn Fn(f64) -> String;
        let rows: [(&str, Option<Spread>, Show<'_>); 6] = [
            ("throughput", only.throughput.spread(true), &per_second),
            ("produce p99", only.p99.spread(false), &nanos),
            ("unavailable", only.unavailable.spread(false), &nanos),
            ("recovered", only.recover.spread(false), &nanos),
            ("CPU", only.cpu.spread(false), &nanos),
            ("memory", only.memory.spread(false), &size),
        ];
        if rows.iter().all(|(_, spread, _)| spread.is_none()) {
            return;
        }
        lines.push(format!("  {:<12} {:>10} {:>10} {:>10}  seed", "figure", "median", "p99", "worst"));
        for (name, spread, show) in rows {
            if let Some(Spread { median, p99, worst, seed }) = spread {
                lines.push(format!("  {name:<12} {:>10} {:>10} {:>10}  {seed}", show(median), show(p99), show(worst)));
            }
        }
    }

    fn faults(&self, lines: &mut Vec<String>) {
        if self.faults.is_empty() {
            return;
        }
        // In the vocabulary's order: families stand together.
        let (mut fired, mut idle, mut never) = (Vec::new(), Vec::new(), Vec::new());
        for word in fault_words() {
            match self.faults.get(word) {
                None => never.push(word.to_owned()),
                Some((began, 0)) => idle.push(format!("{word} {began}")),
                Some((began, mattered)) if began == mattered => fired.push(format!("{word} {mattered}")),
                Some((began, mattered)) => fired.push(format!("{word} {mattered} (of {began})")),
            }
        }
        if !fired.is_empty() {
            lines.extend(wrap("  faults   had an effect in so many runs: ", &fired, " · ", WIDTH));
        }
        if !idle.is_empty() {
            lines.extend(wrap("           began and had no effect: ", &idle, " · ", WIDTH));
        }
        if !never.is_empty() {
            lines.extend(wrap("           never began: ", &never, " · ", WIDTH));
        }
    }

    fn stuck(&self, lines: &mut Vec<String>) {
        let words: Vec<String> = self.stuck.iter().map(|(class, runs)| format!("{class} {runs}")).collect();
        if !words.is_empty() {
            lines.extend(wrap("  stuck    ", &words, " · ", WIDTH));
        }
    }

    fn branches(&self, lines: &mut Vec<String>) {
        let never: Vec<_> = probe::PROBES.iter().filter(|probe| !self.reached.contains(probe.name)).collect();
        let all = probe::PROBES.len();
        if self.reached.is_empty() {
            return;
        }
        lines.push(format!("  reached  {} of {all} branches worth reaching", all - never.len()));
        if never.len() > SENTENCES {
            let names: Vec<String> = never.iter().map(|probe| probe.name.to_owned()).collect();
            lines.extend(wrap("           never: ", &names, " · ", WIDTH));
            lines.push("           (`simctl list --probes` says what they mean)".to_owned());
            return;
        }
        let width = never.iter().map(|probe| probe.name.len()).max().unwrap_or(0);
        for probe in never {
            let head = format!("           never  {:<width$}  ", probe.name);
            lines.extend(wrap(&head, &words_of(probe.about), " ", WIDTH));
        }
    }

    fn cost(&self, cost: &SweepCost) -> String {
        let mut words = vec![format!("wall {}", clock(cost.wall_s))];
        if cost.cpu_s > 0.0 && self.processes > 0 {
            words.push(format!("CPU {}", clock(cost.cpu_s)));
            words.push(format!("{:.0} seeds per core-minute", self.processes as f64 * 60.0 / cost.cpu_s));
            words.push(format!("{} simulated s/CPU-s", count((self.virtual_s / cost.cpu_s) as u64)));
        }
        words.push(format!("memory {} at most in one run", bytes(self.peak_bytes)));
        wrap("cost   ", &words, "  ", WIDTH).join("\n")
    }
}

const WIDTH: usize = 100;
/// Branches that are told with their sentence; of more, only the names.
const SENTENCES: usize = 20;

/// `42.1s`, `7m12s`, `1h02m`.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..100 => format!("{seconds:.1}s"),
        100..6_000 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
    }
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
    fn times_of_a_sweep_are_short() {
        assert_eq!(clock(42.13), "42.1s");
        assert_eq!(clock(432.0), "7m12s");
        assert_eq!(clock(7_320.0), "2h02m");
    }
}
