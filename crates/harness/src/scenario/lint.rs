//! What reads well and still makes no sense: names of nothing, objectives without samples, a quorum that is killed.

mod identity;

use std::ops::Range;

use super::chaos;
use super::diagnostic::{Problems, Source, Spanned, Suggest, code};
use super::document::within;
use super::fault::{Action, At, FaultLine, Heal, Target};
use super::model::{Load, Scenario, Work};
use super::slo::{Limit, Metric, Placed, Slo, When};
use super::term::NodeTerm;
use super::units;

/// Adds everything that is wrong with the sense of a scenario, for whatever seed.
pub(super) fn lint(scenario: &Scenario, problems: &mut Problems, source: &Source) {
    once(scenario, problems, source);
    chaos::lint(scenario, problems);
    chaos::lint_swarm(scenario, problems);
    if scenario.swarm.is_empty() || problems.has_errors() {
        return;
    }
    // What the file names must be there for every seed.
    let before = problems.list.len();
    once(&chaos::least(scenario), problems, source);
    for mut problem in problems.list.split_off(before) {
        if !problems.list.iter().any(|known| known.place == problem.place && known.code == problem.code) {
            problem.note("it is so for seeds that draw the smallest of what [swarm] has");
            problems.list.push(problem);
        }
    }
}

fn once(scenario: &Scenario, problems: &mut Problems, source: &Source) {
    let mut lint = Lint { scenario, problems, source, starts: scenario.phase_starts() };
    lint.cluster();
    lint.topics();
    lint.loads();
    lint.phases();
    lint.faults();
    lint.quorum();
    for slo in &scenario.expect.slo {
        lint.slo(slo);
    }
    lint.reach();
}

struct Lint<'a> {
    scenario: &'a Scenario,
    problems: &'a mut Problems,
    source: &'a Source,
    starts: Vec<u64>,
}

impl Lint<'_> {
    fn cluster(&mut self) {
        let hosts = self.scenario.cluster.hosts();
        for host in self.scenario.cluster.host_config.keys() {
            if !hosts.contains(host) {
                let span = self.find(&format!("config_{host}"));
                self.no_such_host(host, span);
            }
        }
        for host in self.scenario.hardware.hosts.keys() {
            if !hosts.contains(host) {
                let span = self.find(&format!("hardware.{host}"));
                self.no_such_host(host, span);
            }
        }
    }

    /// The place of a text that stands in the file once, else the file's beginning.
    fn find(&self, text: &str) -> Range<usize> {
        self.source.text.find(text).map_or(0..1, |at| at..at + text.len())
    }

    fn no_such_host(&mut self, host: &str, span: Range<usize>) {
        let hosts = self.scenario.cluster.hosts();
        let problem = self.problems.error(code::NO_SUCH_HOST, span, format!("there is no host `{host}`"));
        problem.suggest("", "hosts", hosts.iter().map(String::as_str));
    }

    fn no_such_topic(&mut self, topic: &str, span: Range<usize>, context: &str) {
        let known: Vec<&str> = self.scenario.topics.iter().map(|topic| topic.name.value.as_str()).collect();
        self.problems
            .error(code::NO_SUCH_TOPIC, span, format!("{context}no topic `{topic}`"))
            .suggest(topic, "topics", known);
    }

    fn no_such_phase(&mut self, phase: &str, span: Range<usize>, who: &str) {
        let known: Vec<&str> = self.scenario.phases.iter().map(|phase| phase.name.value.as_str()).collect();
        self.problems
            .error(code::NO_SUCH_PHASE, span, format!("{who} refers to phase `{phase}`, which does not exist"))
            .suggest(phase, "phases", known);
    }

    fn topics(&mut self) {
        let brokers = self.scenario.cluster.brokers;
        for topic in &self.scenario.topics {
            let replicas = topic.replicas.value;
            if replicas > brokers {
                self.problems
                    .error(
                        code::TOO_FEW_BROKERS,
                        topic.replicas.span.clone(),
                        format!("topic `{}` has {replicas} replicas, the cluster {brokers} brokers", topic.name.value),
                    )
                    .label("each replica needs a broker of its own");
            }
            let min_isr =
                topic.config.get("min.insync.replicas").or(self.scenario.cluster.config.get("min.insync.replicas"));
            if let Some(min_isr) = min_isr.and_then(|text| text.parse::<u32>().ok())
                && min_isr > replicas
                && replicas <= brokers
            {
                // Kafka takes the smaller of the two, so this is legal; it is hardly what was meant.
                self.problems
                    .warning(
                        code::NEVER_ACKNOWLEDGED,
                        topic.replicas.span.clone(),
                        format!(
                            "min.insync.replicas {min_isr} of topic `{}` is more than its replicas",
                            topic.name.value
                        ),
                    )
                    .label("the smaller counts: every replica must be in sync");
            }
        }
    }

    fn loads(&mut self) {
        let has_echo = !self.scenario.needs_cluster();
        let hosts = self.scenario.cluster.hosts();
        for load in &self.scenario.loads {
            match &load.work {
                Work::Produce(produce) => {
                    self.topic_of_load(&produce.topic);
                    if let Some(mbit_s) = self.scenario.hardware.link.mbit_s {
                        let mbit = produce.pace.record.saturating_mul(produce.pace.rate) / 1_000 * 8 / 1_000_000;
                        if mbit > mbit_s {
                            self.problems
                                .warning(
                                    code::LINK_TOO_SLOW,
                                    load.name.span.clone(),
                                    format!("this load is {mbit} Mbit/s, a link {mbit_s}"),
                                )
                                .label("it can never keep up");
                        }
                    }
                }
                Work::Consume { topic } => self.topic_of_load(topic),
                Work::Echo { from, to, .. } => {
                    for host in [from, to] {
                        if !hosts.contains(&host.value) {
                            self.no_such_host(&host.value, host.span.clone());
                        }
                    }
                }
            }
            if has_echo && !matches!(load.work, Work::Echo { .. }) {
                self.problems
                    .error(code::NOT_TOGETHER, load.name.span.clone(), "an echo load needs no cluster, this one does")
                    .label("put them into two scenarios");
            }
        }
    }

    fn topic_of_load(&mut self, topic: &Spanned<String>) {
        if self.scenario.topic(&topic.value).is_none() {
            self.no_such_topic(&topic.value, topic.span.clone(), "");
        }
    }

    fn phases(&mut self) {
        for (index, phase) in self.scenario.phases.iter().enumerate() {
            if self.scenario.phases[..index].iter().any(|other| other.name.value == phase.name.value) {
                self.problems.error(
                    code::NAMED_TWICE,
                    phase.name.span.clone(),
                    format!("there is a phase `{}` already", phase.name.value),
                );
            }
            for load in phase.pause.iter().chain(&phase.resume) {
                if !self.scenario.loads.iter().any(|known| known.name.value == load.value) {
                    let known: Vec<&str> = self.scenario.loads.iter().map(|load| load.name.value.as_str()).collect();
                    self.problems
                        .error(code::NO_SUCH_LOAD, load.span.clone(), format!("there is no load `{}`", load.value))
                        .suggest(&load.value, "loads", known);
                }
            }
            if phase.until_no_lag && !self.scenario.loads.iter().any(|load| matches!(load.work, Work::Consume { .. })) {
                self.problems
                    .error(
                        code::VACUOUS_SLO,
                        phase.name.span.clone(),
                        "nobody consumes, so there is no lag to wait for",
                    )
                    .label("take `until` out");
            }
        }
    }

    /// When a fault begins, if its phase exists.
    fn begins(&self, fault: &FaultLine) -> Option<u64> {
        match &fault.at.value {
            At::Absolute(at) => Some(*at),
            At::Phase(name, offset) => {
                let index = self.scenario.phases.iter().position(|phase| phase.name.value == *name)?;
                Some(self.starts[index].saturating_add(*offset))
            }
        }
    }

    fn faults(&mut self) {
        let end = self.starts.last().copied().unwrap_or_default();
        let measured =
            self.scenario.phases.iter().rposition(|phase| phase.measure).map_or(0, |last| self.starts[last + 1]);
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            if self.scenario.faults[..index].iter().any(|other| other.label == fault.label) {
                self.problems
                    .error(code::NAMED_TWICE, fault.span.clone(), format!("there is a fault `{}` already", fault.label))
                    .label("give it a `label` of its own");
            }
            if let At::Phase(phase, _) = &fault.at.value
                && !self.scenario.phases.iter().any(|known| known.name.value == *phase)
            {
                let text = self.source.text[fault.at.span.clone()].trim_matches(['"', '\'']).to_owned();
                let place = within(&fault.at.span, 0..phase.len(), &text, self.source);
                self.no_such_phase(phase, place, "fault");
            }
            for (term, span) in terms(&fault.action) {
                self.term(term, span, matches!(fault.action, Action::Network(_)));
            }
            if let Action::Heal(Heal::Label(label)) = &fault.action
                && !self.scenario.faults.iter().any(|known| known.label == label.value)
            {
                self.no_such_label(label.value.as_str(), label.span.clone());
            }
            self.identity(fault);
            let word = fault.action.word();
            let Some(begins) = self.begins(fault) else { continue };
            let seconds = units::show_duration(begins);
            if begins >= end {
                self.problems
                    .error(code::AFTER_THE_END, fault.span.clone(), format!("{word} at {seconds} lies after the end"))
                    .label(format!("the last phase ends at {}", units::show_duration(end)));
            } else if begins >= measured && !matches!(fault.action, Action::Heal(_)) {
                self.problems.warning(
                    code::AFTER_THE_LAST_MEASURED,
                    fault.span.clone(),
                    format!(
                        "{word} at {seconds} lies after the last measured phase (ends {}); it can affect nothing that is measured",
                        units::show_duration(measured)
                    ),
                );
            }
        }
    }

    fn no_such_label(&mut self, label: &str, span: Range<usize>) {
        let known: Vec<&str> = self.scenario.faults.iter().map(|fault| fault.label.as_str()).collect();
        self.problems
            .error(code::NO_SUCH_LABEL, span, format!("no fault is called `{label}`"))
            .suggest(label, "faults", known);
    }

    /// `clients`: also hosts of clients can be meant.
    fn term(&mut self, term: &NodeTerm, span: Range<usize>, clients: bool) {
        let mut hosts = self.scenario.cluster.hosts();
        if clients {
            hosts.extend(self.scenario.client_hosts());
        }
        for host in term.hosts() {
            if !hosts.iter().any(|known| known == host) {
                let place = self.inside(&span, host);
                self.no_such_host(host, place);
            }
        }
        if let Some((topic, partition)) = term.partition() {
            let place = self.inside(&span, topic);
            self.partition(topic, Some(partition), place);
        }
        if !self.scenario.needs_cluster() && (term.partition().is_some() || *term == NodeTerm::Controller) {
            self.problems
                .error(code::NOT_TOGETHER, span, format!("`{term}` needs a cluster, an echo has none"))
                .label("name the host");
        }
    }

    /// The place of a word within the text at `span`.
    fn inside(&self, span: &Range<usize>, word: &str) -> Range<usize> {
        let text = self.source.text.get(span.clone()).unwrap_or_default();
        text.find(word).map_or(span.clone(), |at| span.start + at..span.start + at + word.len())
    }

    fn partition(&mut self, topic: &str, partition: Option<i32>, span: Range<usize>) {
        let Some(known) = self.scenario.topic(topic) else {
            self.no_such_topic(topic, span, "");
            return;
        };
        if let Some(partition) = partition
            && u32::try_from(partition).is_ok_and(|partition| partition >= known.partitions)
        {
            self.problems
                .error(code::NO_SUCH_TOPIC, span, format!("topic `{topic}` has no partition {partition}"))
                .label(format!("0 to {}", known.partitions - 1));
        }
    }

    /// How many voters each fault takes down at most, with those that are down already.
    fn quorum(&mut self) {
        if self.scenario.allows("quorum-loss") {
            return;
        }
        let voters = self.scenario.cluster.controller_hosts();
        let may_fail = voters.len().saturating_sub(1) / 2;
        let end = self.starts.last().copied().unwrap_or_default();
        let window = |fault: &FaultLine| {
            let from = self.begins(fault)?;
            Some((from, fault.restart_after.map_or(end, |after| from.saturating_add(after))))
        };
        let mut found = Vec::new();
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            let (Some((from, _)), false) = (window(fault), fault.action.downs().is_empty()) else { continue };
            // The budget sees to it when the time comes.
            if fault.within_budget {
                continue;
            }
            let mut named: Vec<&str> = Vec::new();
            let mut unnamed = 0;
            for (other_index, other) in self.scenario.faults.iter().enumerate() {
                let Some((start, stop)) = window(other).filter(|_| !other.within_budget) else { continue };
                let before = start < from || (start == from && other_index <= index);
                if !before || stop <= from {
                    continue;
                }
                for term in other.action.downs() {
                    match self.voters_of(&term.value, &voters) {
                        Down::Named(list) => named.extend(list),
                        Down::Some(count) => unnamed += count,
                    }
                }
            }
            named.sort_unstable();
            named.dedup();
            let down = named.len() + unnamed;
            if down > may_fail {
                found.push((fault.span.clone(), down.min(voters.len())));
            }
        }
        for (span, down) in found {
            self.problems
                .error(code::QUORUM_LOSS, span, format!("{down} of {} voters of the quorum are down now", voters.len()))
                .label("the cluster stands still until they are back")
                .note("if that is meant: allow = [{ what = \"quorum-loss\", why = \"…\" }]");
        }
    }

    fn voters_of<'v>(&self, term: &NodeTerm, voters: &'v [String]) -> Down<'v> {
        let combined = self.scenario.cluster.controllers == 0;
        match term {
            NodeTerm::Host(name) => {
                Down::Named(voters.iter().filter(|voter| *voter == name).map(String::as_str).collect())
            }
            NodeTerm::Controller => Down::Some(1),
            NodeTerm::Leader(..) | NodeTerm::Follower(..) | NodeTerm::Any => Down::Some(usize::from(combined)),
            NodeTerm::Minority => Down::Some(voters.len().saturating_sub(1) / 2),
            NodeTerm::Majority => Down::Some(voters.len() / 2 + 1),
            NodeTerm::Except(inner) => match &**inner {
                NodeTerm::Host(name) if combined => {
                    Down::Named(voters.iter().filter(|voter| *voter != name).map(String::as_str).collect())
                }
                _ => Down::Some(if combined { voters.len() - 1 } else { 0 }),
            },
        }
    }

    fn place(&self, slo: &Slo, at: &Range<usize>) -> Range<usize> {
        within(&slo.text.span, at.clone(), &slo.text.value, self.source)
    }

    fn slo(&mut self, slo: &Slo) {
        if let Some(scope) = &slo.scope
            && self.scenario.topic(&scope.value).is_none()
        {
            let place = self.place(slo, &scope.at);
            self.no_such_topic(&scope.value, place, &format!("`{}({})`: ", slo.metric, scope.value));
        }
        match &slo.when {
            When::Phase(phase) => self.slo_phase(slo, phase),
            When::After(label) => {
                if !self.scenario.faults.iter().any(|fault| fault.label == label.value) {
                    let place = self.place(slo, &label.at);
                    self.no_such_label(&label.value, place);
                }
            }
            When::Run => {}
        }
        if let Limit::PercentOf(_, phase) = &slo.value {
            self.slo_phase(slo, phase);
        }
        if let (Limit::Bound, false) = (&slo.value, self.scenario.needs_cluster()) {
            self.problems.error(
                code::VACUOUS_SLO,
                slo.text.span.clone(),
                "an echo has no bound that follows from a configuration",
            );
        }
        let phase = match &slo.when {
            When::Phase(phase) => Some(phase.value.as_str()),
            When::After(_) | When::Run => None,
        };
        let awake = |load: &&Load| phase.is_none_or(|phase| !self.rests(&load.name.value, phase));
        let produced = |topic: Option<&str>| {
            self.scenario.loads.iter().filter(awake).any(|load| match &load.work {
                Work::Produce(produce) => topic.is_none_or(|topic| produce.topic.value == topic),
                _ => false,
            })
        };
        let consumed = |topic: Option<&str>| {
            self.scenario.loads.iter().any(|load| match &load.work {
                Work::Consume { topic: consumed } => {
                    topic.is_none_or(|topic| consumed.value == topic) && produced(Some(&consumed.value))
                }
                _ => false,
            })
        };
        let scope = slo.scope.as_ref().map(|scope| scope.value.as_str());
        let echoes = !self.scenario.needs_cluster();
        let fed = match slo.metric {
            Metric::Produce(_) => produced(scope),
            Metric::EndToEnd(_) => consumed(scope),
            Metric::Echo(_) => echoes,
            Metric::Throughput | Metric::Unavailable | Metric::Recover | Metric::Errors => produced(scope) || echoes,
        };
        let scope_known = scope.is_none_or(|topic| self.scenario.topic(topic).is_some());
        if !fed && scope_known {
            self.problems
                .error(
                    code::VACUOUS_SLO,
                    slo.text.span.clone(),
                    format!("`{}` would have no samples: no load feeds it", slo.metric),
                )
                .label("an objective without samples is never met");
        }
    }

    /// Whether a load rests throughout a phase: what a client still had on its way when the phase began is no sample of it.
    fn rests(&self, load: &str, phase: &str) -> bool {
        let mut rests = false;
        for known in &self.scenario.phases {
            rests |= known.pause.iter().any(|name| name.value == load);
            rests &= !known.resume.iter().any(|name| name.value == load);
            if known.name.value == phase {
                return rests;
            }
        }
        false
    }

    fn slo_phase(&mut self, slo: &Slo, phase: &Placed<String>) {
        let place = self.place(slo, &phase.at);
        match self.scenario.phases.iter().find(|known| known.name.value == phase.value) {
            None => self.no_such_phase(&phase.value, place, "objective"),
            Some(known) if !known.measure => {
                self.problems
                    .error(code::VACUOUS_SLO, place, format!("phase `{}` is not measured", phase.value))
                    .label("it has `measure = false`");
            }
            Some(_) => {}
        }
    }

    fn reach(&mut self) {
        for reach in &self.scenario.expect.reach {
            if let Some(topic) = &reach.topic {
                let place = self.inside(&reach.text.span, topic);
                self.partition(topic, reach.partition, place);
            }
        }
    }
}

enum Down<'v> {
    Named(Vec<&'v str>),
    Some(usize),
}

/// Every host term of an action, with the place of its text.
fn terms(action: &Action) -> Vec<(&NodeTerm, Range<usize>)> {
    match action.target() {
        Target::Hosts(hosts) => hosts.iter().map(|host| (&host.value, host.span.clone())).collect(),
        Target::Link(link) => link.value.terms().map(|term| (term, link.span.clone())).collect(),
        Target::Nobody => Vec::new(),
    }
}
