//! A run as people see it in a terminal: at most 100 columns, the command that repeats it as the last line.
//!
//! [`summary`] is the same for the same seed; [`closing`] holds what differs (wall time, CPU, memory) and the command.

use std::fmt::Write;

use crate::event::grouped;
use crate::measure::{FaultRow, Latency, PhaseRow};

use super::format::{bytes, count, duration, rate, sparkline, words_of, wrap};
use super::{CheckOutcome, Cost, RunResult, SloVerdict, Verdict, ViolationRow};

/// How it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// With terminal colours.
    pub colour: bool,
    /// Also service times and what was reached by the way.
    pub verbose: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

const WIDTH: usize = 100;

/// Everything but what differs from run to run.
pub fn summary(result: &RunResult, style: Style) -> String {
    let mut out = String::new();
    head(&mut out, result, style);
    phases(&mut out, result, style);
    faults(&mut out, result);
    skipped(&mut out, result, style);
    sparklines(&mut out, result);
    if let Some((check, violation)) = result.violation() {
        out.push('\n');
        failure(&mut out, &check.slug, violation, style);
    }
    out.push('\n');
    crashes(&mut out, result, style);
    checks(&mut out, result, style);
    core(&mut out, result, style);
    stuck(&mut out, result, style);
    losses(&mut out, result);
    slos(&mut out, result, style);
    reached(&mut out, result, style);
    if style.verbose {
        sometimes(&mut out, result);
    }
    verdict(&mut out, result, style);
    // A part that had nothing to say leaves no hole.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

/// The last lines: where the report is, what the run cost, how to repeat it.
pub fn closing(result: &RunResult, report: Option<&str>, cost: Option<&Cost>, style: Style) -> String {
    let mut out = String::new();
    if let Some(report) = report {
        push(&mut out, &format!("report {report}"));
    }
    if let Some(cost) = cost {
        let virtual_s = result.virtual_ns as f64 / 1e9;
        let mut words = vec![
            format!("wall {:.1}s", cost.wall_s),
            format!("CPU {:.2}s", cost.cpu_s),
            format!("memory {}", bytes(cost.peak_bytes)),
        ];
        if cost.cpu_s > 0.0 {
            words.push(format!("{:.0} simulated s/CPU-s", virtual_s / cost.cpu_s));
            words.push(format!("{} events/CPU-s", super::count((result.events as f64 / cost.cpu_s) as u64)));
            if result.produce_requests > 0 {
                words.push(format!("{:.0}us CPU/acked Produce", cost.cpu_s * 1e6 / result.produce_requests as f64));
            } else if result.requests > 0 {
                words.push(format!("{:.1}us CPU/RPC", cost.cpu_s * 1e6 / result.requests as f64));
            }
        }
        for line in wrap("cost   ", &words, "  ", WIDTH) {
            push(&mut out, &style.dim(&line));
        }
    }
    let word = if result.verdict == Verdict::Pass { "again " } else { "repro " };
    push(&mut out, &format!("{word} {}", result.command()));
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn head(out: &mut String, result: &RunResult, style: Style) {
    let build = &result.build;
    let commit = if build.commit.is_empty() { String::new() } else { format!(" ({})", build.commit) };
    let plant = result.plant.as_ref().map_or(String::new(), |plant| format!("  planted {}", style.bad(plant)));
    let line = format!(
        "simctl {}{commit}  {}  target {}  seed {}  hardware {}{plant}",
        build.version,
        style.bold(&result.scenario),
        result.target,
        result.seed,
        result.hardware
    );
    push(out, &line);
    let wrong: Vec<u64> = first_wrong_times(result);
    let mut words: Vec<String> = result
        .windows
        .iter()
        .map(|window| {
            let mark = if wrong.iter().any(|at| (window.start_ns..window.end_ns).contains(at)) { "✗" } else { "✓" };
            format!("{mark} {} {}", window.name, seconds(window.end_ns - window.start_ns))
        })
        .collect();
    if let Some(last) = words.last_mut() {
        let _ = write!(last, "   {} virtual", seconds(result.virtual_ns));
    }
    // Colours have no width: first wrap, then paint.
    for line in wrap("  ", &words, " │ ", WIDTH) {
        let painted =
            if style.colour { line.replace('✓', &style.good("✓")).replace('✗', &style.bad("✗")) } else { line };
        push(out, &painted);
    }
    out.push('\n');
}

/// When the first wrong step of each broken promise and each crash happened.
fn first_wrong_times(result: &RunResult) -> Vec<u64> {
    let broken = result.checks.iter().filter_map(|check| match &check.outcome {
        CheckOutcome::Violated(violation) => {
            violation.story.iter().find(|line| line.first_wrong).map(|line| line.at_ns)
        }
        _ => None,
    });
    broken.chain(result.crashes.iter().map(|crash| crash.at_ns)).collect()
}

fn seconds(nanos: u64) -> String {
    format!("{:.1}s", nanos as f64 / 1e9)
}

fn micros(value: u64, latency: &Latency) -> String {
    if latency.samples == 0 { "-".to_owned() } else { duration(value * 1_000) }
}

/// Columns right-aligned, the first `left` of them left-aligned.
fn table(out: &mut String, head: &[&str], rows: &[Vec<String>], left: usize) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let gap = if widths.iter().sum::<usize>() + 2 * widths.len() > WIDTH { 1 } else { 2 };
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from("  ");
        for (index, (cell, width)) in cells.zip(&widths).enumerate() {
            if index > 0 {
                text.push_str(&" ".repeat(gap));
            }
            let pad = " ".repeat(width - cell.chars().count());
            if index < left { text.push_str(&format!("{cell}{pad}")) } else { text.push_str(&format!("{pad}{cell}")) }
        }
        push(out, &text);
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

fn phases(out: &mut String, result: &RunResult, style: Style) {
    let rows: Vec<&PhaseRow> = result.measured.phases.iter().filter(|row| row.measured && row.offered > 0).collect();
    if rows.is_empty() {
        return;
    }
    let several = rows.iter().any(|row| row.load != rows[0].load);
    let consumed = rows.iter().any(|row| row.e2e.samples > 0);
    let mut head = vec!["phase"];
    if several {
        head.push("load");
    }
    head.extend(["offered", "acked", "err", "p50", "p99", "p99.9", "max"]);
    if style.verbose {
        head.extend(["service p99", "late p99"]);
    }
    if consumed {
        head.extend(["e2e p50", "e2e p99", "lag max"]);
    }
    let body: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![row.phase.clone()];
            if several {
                cells.push(row.load.clone());
            }
            let seconds = row.seconds();
            let errors = row.failed + row.unknown + row.unresolved;
            cells.push(rate(if seconds > 0.0 { row.offered as f64 / seconds } else { 0.0 }));
            cells.push(rate(row.throughput()));
            cells.push(count(errors));
            let latency = &row.latency;
            for value in [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us] {
                cells.push(micros(value, latency));
            }
            if style.verbose {
                cells.push(micros(row.service.p99_us, &row.service));
                cells.push(micros(row.schedule_lag.p99_us, &row.schedule_lag));
            }
            if consumed {
                cells.push(micros(row.e2e.p50_us, &row.e2e));
                cells.push(micros(row.e2e.p99_us, &row.e2e));
                cells.push(count(row.lag_max));
            }
            cells
        })
        .collect();
    table(out, &head, &body, if several { 2 } else { 1 });
    let censored: u64 = rows.iter().map(|row| row.latency.censored).sum();
    if censored > 0 {
        push(out, &format!("  {} operations had not ended: they count at their age", grouped(censored.cast_signed())));
    }
    out.push('\n');
}

fn faults(out: &mut String, result: &RunResult) {
    if result.measured.faults.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> = result.measured.faults.iter().map(fault_cells).collect();
    table(out, &["fault", "at", "what", "hits", "unavailable", "recovered", "dip", "late records"], &rows, 3);
    for row in &result.measured.faults {
        if row.span.what.chars().count() > WHAT_WIDTH {
            for line in wrap(&format!("  {} = ", row.span.label), &words_of(&row.span.what), " ", WIDTH) {
                push(out, &line);
            }
        }
    }
    let idle: Vec<String> =
        result.measured.faults.iter().filter(|row| row.span.hits == 0).map(|row| row.span.label.clone()).collect();
    if !idle.is_empty() {
        for line in wrap("  without effect: ", &idle, ", ", WIDTH) {
            push(out, &line);
        }
    }
    out.push('\n');
}

/// Faults of a random plan that were left out, counted by reason; each of them if wanted.
fn skipped(out: &mut String, result: &RunResult, style: Style) {
    if result.skipped.is_empty() {
        return;
    }
    let count = |reason: &str| result.skipped.iter().filter(|row| row.reason == reason).count();
    let reasons = [("budget", "budget"), ("concurrent", "too many at once"), ("nobody", "nobody to hit")];
    let words: Vec<String> = reasons
        .iter()
        .map(|(reason, shown)| (count(reason), shown))
        .filter(|(times, _)| *times > 0)
        .map(|(times, shown)| format!("{times} {shown}"))
        .collect();
    push(out, &format!("  left out {} planned faults: {}", result.skipped.len(), words.join(", ")));
    if style.verbose {
        for row in &result.skipped {
            let head = format!("    {:>9}  {} ", story_time(row.at_ns), row.label);
            for line in wrap(&head, &words_of(&format!("{} — {}: {}", row.what, row.reason, row.why)), " ", WIDTH) {
                push(out, &style.dim(&line));
            }
        }
    }
    out.push('\n');
}

const WHAT_WIDTH: usize = 28;

fn fault_cells(row: &FaultRow) -> Vec<String> {
    let what = if row.span.what.chars().count() > WHAT_WIDTH {
        format!("{}…", row.span.what.chars().take(WHAT_WIDTH - 1).collect::<String>())
    } else {
        row.span.what.clone()
    };
    vec![
        row.span.label.clone(),
        seconds(row.span.start_ns),
        what,
        count(row.span.hits),
        duration(row.unavailable_ns),
        row.recover_ns.map_or("-".to_owned(), duration),
        format!("{:.0} %", row.dip_bp as f64 / 100.0),
        grouped(i64::try_from(row.delayed).unwrap_or(i64::MAX)),
    ]
}

fn sparklines(out: &mut String, result: &RunResult) {
    let bins = &result.measured.bins;
    let mut acked: std::collections::BTreeMap<u64, (u64, u64)> = std::collections::BTreeMap::new();
    for bin in bins {
        let entry = acked.entry(bin.at_ns).or_default();
        entry.0 += bin.acked;
        entry.1 = entry.1.max(bin.latency.p99_us);
    }
    let rates: Vec<f64> = acked.values().map(|(acked, _)| *acked as f64 * 4.0).collect();
    // Latencies span decades: show their logarithm, from the smallest up.
    let p99: Vec<u64> = acked.values().map(|(_, p99)| *p99).collect();
    let least = p99.iter().copied().filter(|value| *value > 0).min().unwrap_or(1);
    let logs: Vec<f64> = p99
        .iter()
        .map(|value| if *value == 0 { 0.0 } else { libm::log10(*value as f64 / least as f64) + 0.05 })
        .collect();
    let most = p99.iter().copied().max().unwrap_or(0);
    if rates.len() < 2 || rates.iter().all(|rate| *rate == 0.0) {
        return;
    }
    let top = rates.iter().copied().fold(0.0, f64::max);
    push(out, &format!("  throughput {} 0..{}", sparkline(&rates, 60), rate(top)));
    let range = format!("{}..{}", duration(least * 1_000), duration(most * 1_000));
    push(out, &format!("  p99 (log)  {} {range}", sparkline(&logs, 60)));
}

/// A moment in a story: `20.114s`.
pub fn story_time(at_ns: u64) -> String {
    format!("{}.{:03}s", at_ns / 1_000_000_000, at_ns / 1_000_000 % 1_000)
}

fn failure(out: &mut String, slug: &str, violation: &ViolationRow, style: Style) {
    push(out, &format!("{}  {slug} — {}", style.bad("FAIL"), violation.claim));
    for (label, text) in &violation.evidence {
        for line in wrap(&format!("  {label:<8} "), &words_of(text), " ", WIDTH) {
            push(out, &line);
        }
    }
    if violation.count > 1 {
        push(out, &format!("  {:<8} {} in all, this is the first", "count", grouped(violation.count.cast_signed())));
    }
    for (index, line) in violation.story.iter().enumerate() {
        let head =
            format!("  {:<8} {:>9}  {:<6} ", if index == 0 { "story" } else { "" }, story_time(line.at_ns), line.host);
        let mut words = words_of(&line.text);
        if line.first_wrong {
            words.push("<- first wrong step".to_owned());
        }
        for text in wrap(&head, &words, " ", WIDTH) {
            let text = if line.first_wrong { style.bold(&text) } else { text };
            push(out, &text);
        }
    }
}

fn crashes(out: &mut String, result: &RunResult, style: Style) {
    for crash in &result.crashes {
        let head = format!("  crash    {:>9}  {:<6} ", story_time(crash.at_ns), crash.host);
        for line in wrap(&head, &words_of(&crash.message), " ", WIDTH) {
            push(out, &style.bad(&line));
        }
    }
    for stop in &result.stops {
        let head = format!("  stopped  {:>9}  {:<6} ", story_time(stop.at_ns), stop.host);
        wrap(&head, &words_of(&stop.message), " ", WIDTH).iter().for_each(|line| push(out, line));
    }
}

fn checks(out: &mut String, result: &RunResult, style: Style) {
    let mut held = Vec::new();
    let mut idle = Vec::new();
    let mut judged = 0;
    for check in &result.checks {
        match &check.outcome {
            CheckOutcome::Held { judged: number, unit } => {
                judged += 1;
                held.push(format!("{} ({} {unit})", check.slug, count(*number)));
            }
            CheckOutcome::Violated(_) => judged += 1,
            CheckOutcome::NothingToJudge { why } => idle.push(format!("{}: {why}", check.slug)),
            CheckOutcome::NotJudged { .. } => {}
        }
    }
    if judged > 0 || !held.is_empty() {
        for line in wrap(&format!("  checks   {}/{judged} held: ", held.len()), &held, " · ", WIDTH) {
            push(out, &line);
        }
    } else {
        push(out, "  checks   none judged");
    }
    for check in &result.checks {
        if let CheckOutcome::Violated(violation) = &check.outcome {
            let allowed = if violation.allowed { " (allowed)" } else { "" };
            let words = words_of(&format!("{} — {}{allowed}", check.slug, violation.claim));
            for line in wrap("  broken   ", &words, " ", WIDTH) {
                push(out, &style.bad(&line));
            }
        }
    }
    for why in idle {
        for line in wrap("  idle     ", &words_of(&why), " ", WIDTH) {
            push(out, &style.dim(&line));
        }
    }
}

/// The core that was healed first, how long it took to get well, and how long it may take, with the terms.
fn core(out: &mut String, result: &RunResult, style: Style) {
    let Some(core) = &result.core else { return };
    let bound = duration(core.bound.total_ns);
    let how = match core.took_ns {
        Some(took) => format!("well after {} of {bound}", duration(took)),
        None => format!("not well within {bound}"),
    };
    let mut words = words_of(&format!("{} {how}", core.hosts.join(", ")));
    if !core.rest.is_empty() {
        let rest: Vec<String> = core.rest.iter().map(|(host, how)| format!("{host}: {how}")).collect();
        words.extend(words_of(&format!("(meanwhile {})", rest.join(", "))));
    }
    if !core.replaced.is_empty() {
        words.extend(words_of(&format!("(with a new disk: {})", core.replaced.join(", "))));
    }
    for line in wrap("  core     ", &words, " ", WIDTH) {
        push(out, &if core.took_ns.is_some() { line } else { style.bad(&line) });
    }
    let terms: Vec<String> =
        core.bound.terms.iter().map(|(name, nanos)| format!("{name} {}", duration(*nanos))).collect();
    for line in wrap(&format!("           bound {bound} = "), &terms, " + ", WIDTH) {
        push(out, &style.dim(&line));
    }
}

/// At most this many lines of what is stuck.
const STUCK_LINES: usize = 5;

/// What did not get well in time, by class.
fn stuck(out: &mut String, result: &RunResult, style: Style) {
    for row in result.stuck.iter().take(STUCK_LINES) {
        let allowed = if row.allowed { " (allowed)" } else { "" };
        let whom = row.partition.as_deref().unwrap_or("the cluster");
        let when = if row.phase == "core" { " in the core" } else { "" };
        let words = words_of(&format!("{whom}{when} — {}{allowed}: {}", row.class, row.why));
        for line in wrap("  stuck    ", &words, " ", WIDTH) {
            push(out, &if row.allowed { line } else { style.bad(&line) });
        }
    }
    if result.stuck.len() > STUCK_LINES {
        push(out, &format!("           and {} more", result.stuck.len() - STUCK_LINES));
    }
}

fn losses(out: &mut String, result: &RunResult) {
    if result.losses.is_empty() {
        return;
    }
    let records: i64 = result.losses.iter().map(|loss| loss.to - loss.from).sum();
    let legal = if result.keep == "nothing" { "legal here" } else { "of copies" };
    let text = format!(
        "power failures took {} records from {} logs ({legal}: keep = \"{}\")",
        grouped(records),
        result.losses.len(),
        result.keep
    );
    push(out, &format!("  lost     {text}"));
}

fn slos(out: &mut String, result: &RunResult, style: Style) {
    if result.slo.is_empty() {
        return;
    }
    let met = result.slo.iter().filter(|row| row.verdict == SloVerdict::Met).count();
    push(out, &format!("  slo      {met}/{} met", result.slo.len()));
    for row in &result.slo {
        let (mark, painted) = match row.verdict {
            SloVerdict::Met => ("✓", style.good("✓")),
            SloVerdict::Missed => ("✗", style.bad("✗")),
            SloVerdict::Allowed => ("~", "~".to_owned()),
            SloVerdict::NoSamples | SloVerdict::NotJudged => ("?", style.dim("?")),
        };
        let left = row.expr.split(&format!(" {} ", row.op)).next().unwrap_or(&row.expr).to_owned();
        let mut words = vec![left, row.value.clone(), row.op.clone(), row.limit.clone()];
        if let Some(why) = &row.why {
            words.push(format!("— {why}"));
        }
        for line in wrap(&format!("           {mark} "), &words_of(&words.join(" ")), " ", WIDTH) {
            push(out, &line.replacen(mark, &painted, 1));
        }
    }
    if let Some(bound) = &result.bound
        && result.slo.iter().any(|row| row.limit.starts_with("bound"))
    {
        let terms: Vec<String> =
            bound.terms.iter().map(|(name, nanos)| format!("{name} {}", duration(*nanos))).collect();
        for line in wrap(&format!("           bound {} = ", duration(bound.total_ns)), &terms, " + ", WIDTH) {
            push(out, &style.dim(&line));
        }
    }
}

fn reached(out: &mut String, result: &RunResult, style: Style) {
    if result.reached.is_empty() {
        return;
    }
    let hit = result.reached.iter().filter(|row| row.times > 0).count();
    let words: Vec<String> = result
        .reached
        .iter()
        .map(|row| if row.times > 0 { format!("{} {}x", row.what, row.times) } else { format!("never: {}", row.what) })
        .collect();
    for line in wrap(&format!("  reached  {hit}/{} ", result.reached.len()), &words, " · ", WIDTH) {
        push(out, &if hit < result.reached.len() { style.bad(&line) } else { line });
    }
}

fn sometimes(out: &mut String, result: &RunResult) {
    let passed = || result.sometimes.iter().filter(|(_, times)| *times > 0);
    let words: Vec<String> = passed().map(|(name, times)| format!("{name} {}", count(*times))).collect();
    if words.is_empty() {
        return;
    }
    for line in wrap("  passed   ", &words, " · ", WIDTH) {
        push(out, &line);
    }
    let never = || result.sometimes.iter().filter(|(_, times)| *times == 0);
    let width = never().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (index, (name, _)) in never().enumerate() {
        let about = probe::PROBES.iter().find(|probe| probe.name == name).map_or("", |probe| probe.about);
        let head = format!("  {:<8} {name:<width$}  ", if index == 0 { "never" } else { "" });
        for line in wrap(&head, &words_of(about), " ", WIDTH) {
            push(out, &line);
        }
    }
}

fn verdict(out: &mut String, result: &RunResult, style: Style) {
    let word = result.verdict.word();
    let painted = if result.verdict == Verdict::Pass { style.good(word) } else { style.bad(word) };
    let code = result.verdict.exit_code();
    let mut why = result.why.clone();
    if result.verdict != Verdict::Pass {
        why.push(format!("(exit {code})"));
    }
    let words: Vec<String> = why.iter().flat_map(|text| words_of(text)).collect();
    for (index, line) in wrap(&format!("{word}   "), &words, " ", WIDTH).into_iter().enumerate() {
        push(out, &if index == 0 { line.replacen(word, &painted, 1) } else { line });
    }
}
