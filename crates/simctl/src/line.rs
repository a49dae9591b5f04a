//! What one run of many tells the process that started it: one line of JSON on standard output.
//!
//! [`Line::of`] picks it from the result, so that a run that passed needs no folder and no plots.

use std::collections::BTreeMap;

use harness::report::{CheckOutcome, Cost, RunResult, SloVerdict, Verdict};
use harness::run::{Outcome, Recorded};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// The seed.
    pub seed: u64,
    /// The trace's hash, 32 hexadecimal digits.
    pub trace: String,
    /// The command that repeats the run.
    pub command: String,
    /// Runs that failed in the same way have the same: the check that was broken, the objective that was missed.
    pub signature: String,
    /// Why it did not pass, for people.
    pub why: String,
    /// World time, ns.
    pub virtual_ns: u64,
    /// World events.
    pub events: u64,
    /// Acknowledged operations of clients.
    pub acked: u64,
    /// Acknowledged operations a second, over the measured phases.
    pub throughput: Option<f64>,
    /// Latency over the measured phases, µs: half, 99 %, 99.9 % are at most this.
    pub latency_us: Option<[u64; 3]>,
    /// The worst unavailability after a fault, ns.
    pub unavailable_ns: Option<u64>,
    /// The longest recovery that there was, ns.
    pub recover_ns: Option<u64>,
    /// Each fault that began, by its word: how often it had an effect.
    pub faults: BTreeMap<String, u64>,
    /// Branches worth reaching that were reached.
    pub reached: Vec<String>,
    /// Why the run stood still at its end, if it did.
    pub stuck: Option<String>,
    /// CPU seconds of the run itself.
    pub cpu_s: f64,
    /// Most memory in use, bytes.
    pub peak_bytes: u64,
    /// The trace's hash after every thousandth event, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<String>,
    /// The events of the window asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<Recorded>,
}

impl Line {
    /// The line of a result.
    pub fn of(result: &RunResult, cost: &Cost) -> Self {
        let (signature, why) = failure(result);
        let measured = &result.measured;
        let rows = || measured.phases.iter().filter(|row| row.measured);
        let seconds: f64 = {
            let windows = result.windows.iter().filter(|window| window.measured);
            windows.map(|window| (window.end_ns - window.start_ns) as f64 / 1e9).sum()
        };
        let within: u64 = rows().map(|row| row.acked_within).sum();
        let overall = &measured.overall;
        let mut faults = BTreeMap::new();
        for row in &measured.faults {
            *faults.entry(row.span.kind.clone()).or_insert(0) += row.span.hits;
        }
        Self {
            seed: result.seed,
            trace: result.trace_hash.clone(),
            command: result.command(),
            signature,
            why,
            virtual_ns: result.virtual_ns,
            events: result.events,
            acked: measured.phases.iter().map(|row| row.acked).sum(),
            throughput: (seconds > 0.0 && rows().any(|row| row.offered > 0)).then(|| within as f64 / seconds),
            latency_us: (overall.samples > 0).then_some([overall.p50_us, overall.p99_us, overall.p999_us]),
            unavailable_ns: measured.faults.iter().map(|row| row.unavailable_ns).max(),
            recover_ns: measured.faults.iter().filter_map(|row| row.recover_ns).max(),
            faults,
            reached: result.sometimes.iter().filter(|(_, times)| *times > 0).map(|(name, _)| name.clone()).collect(),
            stuck: result.stuck.first().map(|row| row.class.clone()),
            cpu_s: cost.cpu_s,
            peak_bytes: cost.peak_bytes,
            checkpoints: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// Adds what is needed to find where two runs part.
    pub fn with_trace_of(mut self, outcome: &Outcome) -> Self {
        self.checkpoints = outcome.checkpoints.iter().map(ToString::to_string).collect();
        self.recorded.clone_from(&outcome.recorded);
        self
    }

    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// The last line of that form in what a process said.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines().rev().filter(|line| line.starts_with('{')).find_map(|line| serde_json::from_str(line).ok())
    }
}

/// What a run failed in, for programs and for people; both empty if it passed.
fn failure(result: &RunResult) -> (String, String) {
    if let Some((check, violation)) = result.violation() {
        return (check.slug.clone(), format!("{} — {}", check.slug, violation.claim));
    }
    if let Some(crash) = result.crashes.first() {
        return (format!("crash: {}", without_numbers(&crash.message)), format!("{} {}", crash.host, crash.message));
    }
    let missed: Vec<_> = result.slo.iter().filter(|row| row.verdict == SloVerdict::Missed).collect();
    if let Some(first) = missed.first() {
        let tell = |row: &&harness::report::SloRow| {
            let why = row.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            format!("{}: {}{why}", row.expr, row.value)
        };
        return (first.expr.clone(), missed.iter().map(tell).collect::<Vec<_>>().join("; "));
    }
    if result.verdict == Verdict::Pass {
        return (String::new(), String::new());
    }
    let mut why = result.why.join(" ");
    let never: Vec<&str> = result.reached.iter().filter(|row| row.times == 0).map(|row| row.what.as_str()).collect();
    let mut signature = without_numbers(&why);
    if !never.is_empty() {
        signature = format!("never {}", never.join(", "));
        why = format!("{why}: {}", never.join(", "));
    }
    let judged = result.checks.iter().any(|check| matches!(check.outcome, CheckOutcome::Held { .. }));
    if !judged && signature.is_empty() {
        signature = "nothing judged".to_owned();
    }
    (signature, why)
}

/// A message without what differs from seed to seed, and not too long.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() {
            while chars.next_if(char::is_ascii_digit).is_some() {}
            out.push('N');
        } else if c == '\n' {
            out.push(' ');
        } else {
            out.push(c);
        }
    }
    if out.chars().count() > 80 { out.chars().take(79).chain(['…']).collect() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_from_between_other_words() {
        let line = Line { seed: 7, trace: "abc".into(), why: "it \"broke\"".into(), ..Line::default() };
        let back = Line::parse(&format!("noise\n{}\n{{noise\n", line.to_json())).unwrap();
        assert_eq!((back.seed, back.why), (7, "it \"broke\"".to_owned()));
    }

    #[test]
    fn a_signature_has_no_numbers() {
        assert_eq!(without_numbers("high watermark went back: 18204 -> 17"), "high watermark went back: N -> N");
    }
}
