//! From what happened to how it is judged.

use crate::checker::Stuck;
use crate::measure::{Input, measure};
use crate::report::{CheckOutcome, RunResult, SloVerdict, Verdict, check_rows};
use crate::scenario::Scenario;

use super::{Lived, Options, Outcome, objective};

/// Measures, judges objectives, decides.
pub(super) fn judge(scenario: &Scenario, options: &Options, lived: Lived) -> Outcome {
    let Lived { windows, mut faults, .. } = lived;
    let end_ns = lived.end.loads_ended_ns;
    for fault in &mut faults {
        fault.end_ns = fault.end_ns.min(lived.end.healed_ns);
    }
    let input =
        Input { history: &lived.end.history, windows: &windows, faults: &faults, gauges: &lived.gauges, end_ns };
    let measured = measure(&input);
    let allowed: Vec<String> = scenario.expect.allow.iter().map(|allow| allow.what.clone()).collect();
    let checks = check_rows(lived.findings, &lived.milestones, &scenario.expect.safety, &allowed);
    let broken = checks
        .iter()
        .filter(|check| matches!(&check.outcome, CheckOutcome::Violated(violation) if !violation.allowed))
        .count();
    let safe = broken == 0 && lived.crashes.is_empty();
    let grounds = objective::Grounds {
        scenario,
        history: &lived.end.history,
        measured: &measured,
        windows: &windows,
        faults: &faults,
        controller_lost: &lived.controller_lost,
        elections: &lived.elections,
        candidacies: &lived.candidacies,
        end_ns,
    };
    let slo = grounds.judge(safe);
    let bound = scenario.needs_cluster().then(|| grounds.bound());
    let in_core = lived.end.core.iter().flat_map(|core| &core.stuck);
    let stuck: Vec<Stuck> = in_core.chain(&lived.end.stuck).cloned().collect();
    let mut result = RunResult {
        schema_version: 1,
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        path: options.path.clone(),
        sets: options.sets.clone(),
        plant: probe::chosen().map(str::to_owned),
        seed: options.seed,
        target: "sim".to_owned(),
        hardware: "ideal".to_owned(),
        build: options.build.clone(),
        trace_hash: lived.trace_hash,
        verdict: Verdict::Pass,
        why: Vec::new(),
        virtual_ns: lived.end.ended_ns,
        events: lived.events,
        produce_requests: lived.produce_requests,
        requests: lived.requests,
        keep: scenario.expect.keep.to_string(),
        allowed,
        measured,
        windows,
        checks,
        slo,
        reached: lived.reached,
        bound,
        crashes: lived.crashes,
        stops: lived.stops,
        skipped: lived.skipped,
        core: lived.core,
        stuck: stuck.iter().map(Into::into).collect(),
        losses: lived.end.losses.iter().map(Into::into).collect(),
        sometimes: probe::PROBES
            .iter()
            .map(|probe| (probe.name.to_owned(), probe::times(probe.name).unwrap_or(0)))
            .collect(),
    };
    decide(&mut result, broken, lived.misses);
    Outcome { result, trace: lived.trace, checkpoints: lived.checkpoints, recorded: lived.recorded }
}

/// The verdict: safety before objectives before what was not reached; an empty run never passes.
fn decide(result: &mut RunResult, broken: usize, misses: Vec<String>) {
    let judged = result
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, CheckOutcome::Held { .. } | CheckOutcome::Violated(_)))
        .count();
    let of = |verdict: SloVerdict| result.slo.iter().filter(|row| row.verdict == verdict).count();
    let (missed, unsampled, met) = (of(SloVerdict::Missed), of(SloVerdict::NoSamples), of(SloVerdict::Met));
    let unreached = result.reached.iter().filter(|row| row.times == 0).count();
    let mut why = Vec::new();
    let plural = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    if broken > 0 {
        why.push(plural(broken, "promise broken", "promises broken"));
    }
    if !result.crashes.is_empty() {
        why.push(plural(result.crashes.len(), "process crashed", "processes crashed"));
    }
    if !why.is_empty() {
        result.verdict = Verdict::Safety;
    } else if missed > 0 {
        why.push(plural(missed, "objective missed", "objectives missed"));
        result.verdict = Verdict::Slo;
    } else {
        if unsampled > 0 {
            why.push(plural(unsampled, "objective without samples", "objectives without samples"));
        }
        if unreached > 0 {
            why.push(format!("{unreached} of {} not reached", result.reached.len()));
        }
        if judged == 0 && met == 0 {
            why.push("nothing was judged".to_owned());
        }
        why.extend(misses);
        if !why.is_empty() {
            result.verdict = Verdict::Inconclusive;
        }
    }
    let mut classes: Vec<&str> = result.stuck.iter().filter(|row| row.allowed).map(|row| row.class.as_str()).collect();
    classes.dedup();
    if !classes.is_empty() {
        why.push(format!("stuck: {} (allowed)", classes.join(", ")));
    }
    let last = why.len().saturating_sub(1);
    result.why =
        why.into_iter().enumerate().map(|(index, text)| if index < last { text + "," } else { text }).collect();
}
