//! Objectives, judged: each with its value, its limit, how many samples it stands on, and why it was missed.

use crate::history::{History, SendOutcome};
use crate::measure::{FaultSpan, Latency, Measured, Window, gaps};
use crate::report::{Bound, SloRow, SloVerdict, count, duration, rate};
use crate::scenario::{Limit, Metric, Op, Scenario, Slo, Statistic, When, Work};

use super::timers;

#[cfg(test)]
mod tests;

/// What objectives are judged by.
pub struct Grounds<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// What clients did.
    pub history: &'a History,
    /// All numbers.
    pub measured: &'a Measured,
    /// The phases as they ran.
    pub windows: &'a [Window],
    /// The faults as they happened.
    pub faults: &'a [FaultSpan],
    /// For each fault: whether it hit the active controller.
    pub controller_lost: &'a [bool],
    /// When quorum leaders were elected, ns.
    pub elections: &'a [u64],
    /// When nodes stood for election, ns.
    pub candidacies: &'a [u64],
    /// When the loads ended, ns.
    pub end_ns: u64,
}

/// A value with the number of its samples.
type Value = Option<(f64, u64)>;

impl Grounds<'_> {
    /// Judges every objective. `safe` is whether all promises held; if not, objectives say nothing.
    pub fn judge(&self, safe: bool) -> Vec<SloRow> {
        self.scenario.expect.slo.iter().map(|slo| self.row(slo, safe)).collect()
    }

    /// The bound that the report prints: of the phase of the first objective that uses it, or the plain one.
    pub fn bound(&self) -> Bound {
        let with = self.scenario.expect.slo.iter().find(|slo| slo.value == Limit::Bound);
        with.map_or_else(|| timers::bound(self.scenario, false), |slo| self.bound_of(slo))
    }

    fn bound_of(&self, slo: &Slo) -> Bound {
        let lost = match self.window(slo) {
            Some((from, to)) => {
                let within = |fault: &FaultSpan| (from..to).contains(&fault.start_ns);
                self.faults.iter().zip(self.controller_lost).any(|(fault, lost)| *lost && within(fault))
            }
            None => false,
        };
        timers::bound(self.scenario, lost)
    }

    fn row(&self, slo: &Slo, safe: bool) -> SloRow {
        let value = self.value(slo, &slo.when);
        let (limit, limit_text) = self.limit(slo);
        let mut row = SloRow {
            expr: slo.text.value.clone(),
            value: value.map_or("-".to_owned(), |(value, _)| show(slo.metric, value)),
            limit: limit_text,
            op: slo.op.to_string(),
            value_raw: value.map(|(value, _)| value),
            limit_raw: limit,
            margin: None,
            samples: value.map_or(0, |(_, samples)| samples),
            verdict: SloVerdict::NoSamples,
            why: None,
        };
        if !safe {
            row.verdict = SloVerdict::NotJudged;
            row.why = Some("not judged: safety failed".to_owned());
            return row;
        }
        let (Some((value, _)), Some(limit)) = (value, limit) else {
            row.why = Some("no samples".to_owned());
            return row;
        };
        let met = match slo.op {
            Op::AtMost => value <= limit,
            Op::AtLeast => value >= limit,
            Op::Below => value < limit,
            Op::Above => value > limit,
            Op::Equal => value == limit,
        };
        let good_side = if matches!(slo.op, Op::AtLeast | Op::Above) { value - limit } else { limit - value };
        row.margin = (limit != 0.0).then_some(good_side / limit);
        row.verdict = match (met, self.scenario.allows("slo")) {
            (true, _) => SloVerdict::Met,
            (false, true) => SloVerdict::Allowed,
            (false, false) => SloVerdict::Missed,
        };
        if !met && slo.metric == Metric::Unavailable {
            row.why = Some(self.overrun(slo));
        }
        row
    }

    /// Why a partition was unavailable for longer than the bound: more election rounds than it allows, a connection that
    /// waited for TCP's back-off after a cut, or a bug.
    fn overrun(&self, slo: &Slo) -> String {
        let Some((from, to)) = self.window(slo) else { return "class: unknown".to_owned() };
        let within = |at: &&u64| (from..to).contains(*at);
        let candidacies = self.candidacies.iter().filter(within).count() as u64;
        let elections = self.elections.iter().filter(within).count() as u64;
        if candidacies > elections + timers::ROUNDS {
            return format!("class: split votes ({candidacies} candidacies for {elections} elections)");
        }
        let silent = ["cut", "isolate", "power_off", "loss", "flap", "swizzle"];
        if self
            .faults
            .iter()
            .any(|fault| silent.contains(&fault.kind.as_str()) && fault.start_ns < to && fault.end_ns > from)
        {
            return "class: TCP back-off (a host or a link was silent)".to_owned();
        }
        "class: bug (nothing in the configuration explains it)".to_owned()
    }

    /// From when to when an objective looks.
    fn window(&self, slo: &Slo) -> Option<(u64, u64)> {
        self.window_of(&slo.when)
    }

    fn window_of(&self, when: &When) -> Option<(u64, u64)> {
        match when {
            When::Run => {
                let mut measured = self.windows.iter().filter(|window| window.measured);
                let first = measured.next()?;
                Some((first.start_ns, measured.next_back().unwrap_or(first).end_ns))
            }
            When::Phase(name) => self.phase(&name.value).map(|window| (window.start_ns, window.end_ns)),
            When::After(label) => {
                let fault = self.faults.iter().find(|fault| fault.label == label.value)?;
                Some((fault.start_ns, self.end_ns))
            }
        }
    }

    fn phase(&self, name: &str) -> Option<&Window> {
        self.windows.iter().find(|window| window.name == name)
    }

    fn limit(&self, slo: &Slo) -> (Option<f64>, String) {
        match &slo.value {
            Limit::Duration(nanos) => (Some(*nanos as f64), duration(*nanos)),
            Limit::Rate(thousandths) => (Some(*thousandths as f64 / 1e3), rate(*thousandths as f64 / 1e3)),
            Limit::Count(number) => (Some(*number as f64), count(*number)),
            Limit::Bound => {
                let bound = self.bound_of(slo);
                (Some(bound.total_ns as f64), format!("bound {}", duration(bound.total_ns)))
            }
            Limit::PercentOf(hundredths, phase) => {
                let base = self.value(slo, &When::Phase(phase.clone()));
                let limit = base.map(|(base, _)| base * *hundredths as f64 / 1e4);
                let percent = *hundredths as f64 / 100.0;
                let text = limit.map_or("-".to_owned(), |limit| show(slo.metric, limit));
                (limit, format!("{text} ({percent}% of {})", phase.value))
            }
        }
    }

    fn value(&self, slo: &Slo, when: &When) -> Value {
        let scope = slo.scope.as_ref().map(|scope| scope.value.as_str());
        match slo.metric {
            Metric::Produce(statistic) | Metric::Echo(statistic) => {
                self.latency(when, scope, statistic, |row| &row.latency)
            }
            Metric::EndToEnd(statistic) => self.latency(when, scope, statistic, |row| &row.e2e),
            Metric::Throughput => {
                let (from, to) = self.window_of(when)?;
                let rows = || self.rows(when, scope);
                let (acked, offered) =
                    rows().fold((0, 0), |(acked, offered), row| (acked + row.acked_within, offered + row.offered));
                let seconds = rows().map(|row| row.end_ns - row.start_ns).max().unwrap_or(to - from) as f64 / 1e9;
                (offered > 0 && seconds > 0.0).then(|| (acked as f64 / seconds, acked))
            }
            Metric::Errors => {
                let rows = || self.rows(when, scope);
                let errors: u64 = rows().map(|row| row.failed + row.unknown + row.unresolved).sum();
                let offered: u64 = rows().map(|row| row.offered).sum();
                (offered > 0).then_some((errors as f64, offered))
            }
            Metric::Unavailable => self.unavailable(when, scope),
            Metric::Recover => {
                let When::After(label) = when else { return None };
                let row = self.measured.faults.iter().find(|row| row.span.label == label.value)?;
                Some((row.recover_ns? as f64, 1))
            }
        }
    }

    fn rows<'s>(
        &'s self,
        when: &'s When,
        scope: Option<&'s str>,
    ) -> impl Iterator<Item = &'s crate::measure::PhaseRow> + 's {
        self.measured.phases.iter().filter(move |row| {
            let here = match when {
                When::Run => row.measured,
                When::Phase(name) => row.phase == name.value,
                When::After(_) => false,
            };
            here && scope.is_none_or(|topic| row.topic == topic)
        })
    }

    /// The worst load's number: a quantile over loads of different work would say nothing.
    fn latency(
        &self,
        when: &When,
        scope: Option<&str>,
        statistic: Statistic,
        pick: fn(&crate::measure::PhaseRow) -> &Latency,
    ) -> Value {
        let latencies = || self.rows(when, scope).map(pick).filter(|latency| latency.samples > 0);
        let samples = latencies().map(|latency| latency.samples).sum();
        let value = latencies().map(|latency| match statistic {
            Statistic::Quantile(500) => latency.p50_us,
            Statistic::Quantile(900) => latency.p90_us,
            Statistic::Quantile(999) => latency.p999_us,
            Statistic::Quantile(_) => latency.p99_us,
            Statistic::Max => latency.max_us,
            Statistic::Mean => latency.mean_us,
        });
        value.max().map(|us| (us as f64 * 1e3, samples))
    }

    fn unavailable(&self, when: &When, scope: Option<&str>) -> Value {
        let (from, to) = self.window_of(when)?;
        let echo = self.scenario.loads.iter().any(|load| matches!(load.work, Work::Echo { .. }));
        let all = gaps(self.history, self.end_ns, |partition| {
            scope.is_none_or(|topic| partition.topic == topic) || (echo && scope.is_none())
        });
        let worst = all.values().flatten().map(|gap| gap.within(from, to)).max()?;
        let within = |send: &&crate::history::Send| {
            (from..to).contains(&send.intended_ns) && scope.is_none_or(|topic| send.partition.topic == topic)
        };
        let sends = self.history.sends.iter().filter(within);
        let samples = sends.filter(|send| matches!(send.outcome, SendOutcome::Ok(_))).count() as u64;
        let offered = self.history.sends.iter().filter(within).count();
        (offered > 0).then_some((worst as f64, samples))
    }
}

fn show(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Throughput => rate(value),
        Metric::Errors => count(value as u64),
        _ => duration(value as u64),
    }
}
