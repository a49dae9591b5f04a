//! A scenario written back, every default spelt out: what was really run.

use std::fmt::Write;

use super::fault::{Action, At, FaultLine, Heal, Target};
use super::model::{Arrivals, DiskSpec, Keys, LinkSpec, Load, Pace, Phase, Scenario, Timers, Work};
use super::units::{show_duration, show_rate, show_size};

impl Scenario {
    /// The scenario as TOML that reads back to the same scenario.
    pub fn resolved(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes everything");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "schema = 1")?;
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "about = {}", quoted(&self.about))?;
        writeln!(out, "tags = {}", list(self.tags.iter().map(|tag| quoted(tag))))?;

        writeln!(out, "\n[cluster]")?;
        writeln!(out, "brokers = {}", self.cluster.brokers)?;
        writeln!(out, "controllers = {}", self.cluster.controllers)?;
        writeln!(out, "timers = \"{}\"", if self.cluster.timers == Timers::Fast { "fast" } else { "kafka" })?;
        writeln!(out, "config = {}", properties(&self.cluster.config))?;
        for (host, config) in &self.cluster.host_config {
            writeln!(out, "config_{host} = {}", properties(config))?;
        }

        writeln!(out, "\n[hardware]")?;
        writeln!(out, "profile = \"ideal\"")?;
        hardware(out, &self.hardware.link, &self.hardware.disk)?;
        for (host, (link, disk)) in &self.hardware.hosts {
            writeln!(out, "\n[hardware.{host}]")?;
            hardware(out, link, disk)?;
        }

        for topic in &self.topics {
            writeln!(out, "\n[topics.{}]", key(&topic.name.value))?;
            writeln!(out, "partitions = {}", topic.partitions)?;
            writeln!(out, "replicas = {}", topic.replicas.value)?;
            writeln!(out, "config = {}", properties(&topic.config))?;
        }
        for load in &self.loads {
            write_load(out, load)?;
        }

        writeln!(out, "\n[timeline]")?;
        writeln!(out, "phases = [")?;
        for phase in &self.phases {
            writeln!(out, "  {},", phase_line(phase))?;
        }
        writeln!(out, "]\nfaults = [")?;
        for fault in &self.faults {
            writeln!(out, "  {},", fault_line(fault))?;
        }
        writeln!(out, "]")?;
        if let Some(max_concurrent) = self.max_concurrent {
            writeln!(out, "max_concurrent = {max_concurrent}")?;
        }
        if self.core_first {
            writeln!(out, "core_first = true")?;
        }

        if let Some(chaos) = &self.chaos {
            writeln!(out, "\n[chaos]")?;
            writeln!(out, "window = {}", quoted(&chaos.window.value))?;
            writeln!(out, "every = \"{}\"", chaos.every)?;
            writeln!(out, "swarm = {}", chaos.swarm)?;
            writeln!(out, "max_concurrent = {}", chaos.max_concurrent)?;
            writeln!(out, "heal_at_end = {}", chaos.heal_at_end)?;
            let menu: Vec<String> =
                chaos.menu.iter().map(|(word, weight)| format!("{} = {weight}", word.word())).collect();
            writeln!(out, "menu = {}", table(&menu))?;
        }
        if !self.swarm.is_empty() {
            writeln!(out, "\n[swarm]")?;
            for line in &self.swarm {
                writeln!(out, "{line}")?;
            }
        }

        writeln!(out, "\n[expect]")?;
        if self.expect.safety.is_empty() {
            writeln!(out, "safety = \"all\"")?;
        } else {
            writeln!(out, "safety = {}", list(self.expect.safety.iter().map(|slug| quoted(slug))))?;
        }
        writeln!(out, "slo = {}", list(self.expect.slo.iter().map(|slo| quoted(&slo.text.value))))?;
        writeln!(out, "keep = \"{}\"", self.expect.keep)?;
        writeln!(out, "reach = {}", list(self.expect.reach.iter().map(|reach| quoted(&reach.text.value))))?;
        let allow = self.expect.allow.iter();
        let allow = allow.map(|allow| format!("{{ what = {}, why = {} }}", quoted(&allow.what), quoted(&allow.why)));
        writeln!(out, "allow = {}", list(allow))
    }
}

fn hardware(out: &mut String, link: &LinkSpec, disk: &DiskSpec) -> std::fmt::Result {
    let mut fields = Vec::new();
    for (key, value) in [("latency", link.latency), ("jitter", link.jitter)] {
        fields.extend(value.map(|nanos| format!("{key} = \"{}\"", show_duration(nanos))));
    }
    fields.extend(link.mbit_s.map(|mbit_s| format!("mbit_s = {mbit_s}")));
    writeln!(out, "link = {}", table(&fields))?;
    let mut fields = Vec::new();
    for (key, value) in [("read", disk.read), ("write", disk.write), ("fsync", disk.fsync)] {
        fields.extend(value.map(|nanos| format!("{key} = \"{}\"", show_duration(nanos))));
    }
    writeln!(out, "disk = {}", table(&fields))
}

fn write_load(out: &mut String, load: &Load) -> std::fmt::Result {
    writeln!(out, "\n[load.{}]", key(&load.name.value))?;
    match &load.work {
        Work::Produce(produce) => {
            writeln!(out, "produce = {}", quoted(&produce.topic.value))?;
            write_pace(out, &produce.pace)?;
            let keys = match produce.keys {
                Keys::None => "none".to_owned(),
                Keys::Seq => "seq".to_owned(),
                Keys::Uniform(n) => format!("uniform({n})"),
            };
            writeln!(out, "keys = {}", quoted(&keys))?;
            let acks = if produce.acks == -1 { "\"all\"".to_owned() } else { produce.acks.to_string() };
            writeln!(out, "acks = {acks}")?;
            writeln!(out, "idempotent = false")?;
            writeln!(out, "batch = \"{}\"", show_size(produce.batch))?;
            writeln!(out, "linger = \"{}\"", show_duration(produce.linger))?;
            writeln!(out, "timeout = \"{}\"", show_duration(produce.timeout))?;
            writeln!(out, "in_flight = {}", produce.in_flight)?;
        }
        Work::Consume { topic } => writeln!(out, "consume = {}", quoted(&topic.value))?,
        Work::Echo { from, to, pace, timeout } => {
            writeln!(out, "echo = \"{} -> {}\"", from.value, to.value)?;
            write_pace(out, pace)?;
            writeln!(out, "timeout = \"{}\"", show_duration(*timeout))?;
        }
    }
    writeln!(out, "clients = {}", load.clients)
}

fn write_pace(out: &mut String, pace: &Pace) -> std::fmt::Result {
    writeln!(out, "rate = \"{}\"", show_rate(pace.rate))?;
    writeln!(out, "arrivals = \"{}\"", if pace.arrivals == Arrivals::Uniform { "uniform" } else { "poisson" })?;
    writeln!(out, "record = \"{}\"", show_size(pace.record))
}

fn phase_line(phase: &Phase) -> String {
    let mut fields = vec![
        format!("name = {}", quoted(&phase.name.value)),
        format!("for = \"{}\"", show_duration(phase.length)),
        format!("measure = {}", phase.measure),
    ];
    for (key, loads) in [("pause", &phase.pause), ("resume", &phase.resume)] {
        if !loads.is_empty() {
            fields.push(format!("{key} = {}", list(loads.iter().map(|load| quoted(&load.value)))));
        }
    }
    if phase.until_no_lag {
        fields.push("until = \"lag == 0\"".to_owned());
    }
    table(&fields)
}

/// A fault line as one would write it.
fn fault_line(fault: &FaultLine) -> String {
    let at = match &fault.at.value {
        At::Absolute(at) => show_duration(*at),
        At::Phase(name, 0) => name.clone(),
        At::Phase(name, offset) => format!("{name}+{}", show_duration(*offset)),
    };
    let mut fields = vec![format!("at = {}", quoted(&at))];
    fields.extend(action_fields(&fault.action));
    fields.extend(fault.lasts.map(|lasts| format!("for = \"{}\"", show_duration(lasts))));
    fields.extend(fault.restart_after.map(|after| format!("restart_after = \"{}\"", show_duration(after))));
    if fault.within_budget {
        fields.push("within_budget = true".to_owned());
    }
    fields.push(format!("label = {}", quoted(&fault.label)));
    table(&fields)
}

fn action_fields(action: &Action) -> Vec<String> {
    let word = action.word();
    let mut fields = vec![match action.target() {
        Target::Hosts([host]) if !matches!(action, Action::Process(_)) => {
            format!("{word} = {}", quoted(&host.value.to_string()))
        }
        Target::Hosts(hosts) => {
            format!("{word} = {}", list(hosts.iter().map(|host| quoted(&host.value.to_string()))))
        }
        Target::Link(link) => format!("{word} = {}", quoted(&link.value.to_string())),
        Target::Nobody => match action {
            Action::Heal(Heal::Label(label)) => format!("{word} = {}", quoted(&label.value)),
            _ => format!("{word} = \"all\""),
        },
    }];
    fields.extend(action.arguments());
    fields
}

fn properties(config: &std::collections::BTreeMap<String, String>) -> String {
    let fields: Vec<String> = config
        .iter()
        .map(|(name, value)| {
            let plain = value.parse::<i64>().is_ok() || matches!(value.as_str(), "true" | "false");
            format!("{} = {}", quoted(name), if plain { value.clone() } else { quoted(value) })
        })
        .collect();
    table(&fields)
}

fn table(fields: &[String]) -> String {
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A key, in quotes if it needs them.
pub(super) fn key(text: &str) -> String {
    let bare =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { text.to_owned() } else { quoted(text) }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
