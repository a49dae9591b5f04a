//! From the document to a [`Scenario`], table by table.

mod load;
mod timeline;

use std::collections::BTreeMap;

use super::chaos;
use super::diagnostic::{Problems, Source, Spanned, code};
use super::document::{Entry, Fields, Value, duration, table};
use super::model::{Cluster, DiskSpec, Hardware, LinkSpec, Scenario, Timers, Topic};
use super::property::{self, Of, Wrong};
use super::term;
use super::units::Refusal;

use load::load;
use timeline::{Timeline, expect, timeline};

pub(super) use timeline::KEEP_WORDS;

/// What every table reader needs.
struct Context<'a> {
    problems: &'a mut Problems,
    source: &'a Source,
}

/// Reads the whole document. `None` only if something that the rest needs is missing; then there are problems.
pub(super) fn read(root: &[Entry], problems: &mut Problems, source: &Source) -> Option<Scenario> {
    let mut cx = Context { problems, source };
    let start = source.text.len().min(1);
    let mut top = Fields::new("a scenario", 0..start, root);
    top.later(&["extends"]);
    let schema = top.integer("schema", 1..=1, cx.problems);
    let schema = top.require("schema", schema, cx.problems);
    let name = top.read("name", cx.problems, source, file_name);
    let name = top.require("name", name, cx.problems);
    let about = top.text("about", cx.problems);
    let about = top.require("about", about, cx.problems);
    let tags = top.texts("tags", cx.problems);

    let cluster = top.table("cluster", cx.problems).map(|(entry, entries)| cluster(entry, entries, &mut cx));
    let cluster = top.require("cluster", cluster, cx.problems);
    let hardware = match top.table("hardware", cx.problems) {
        Some((entry, entries)) => hardware(entry, entries, &mut cx),
        None => Hardware::default(),
    };
    let topics = match top.table("topics", cx.problems) {
        Some((_, entries)) => entries.iter().filter_map(|entry| topic(entry, &mut cx)).collect(),
        None => Vec::new(),
    };
    let loads = match top.table("load", cx.problems) {
        Some((_, entries)) => entries.iter().filter_map(|entry| load(entry, &mut cx)).collect(),
        None => Vec::new(),
    };
    let timeline = top.table("timeline", cx.problems).map(|(entry, entries)| timeline(entry, entries, &mut cx));
    let timeline = top.require("timeline", timeline, cx.problems);
    let (chaos, chaos_keep) = match top.table("chaos", cx.problems) {
        Some((entry, entries)) => chaos::read(entry, entries, cx.problems, source),
        None => (None, None),
    };
    let swarm = match top.table("swarm", cx.problems) {
        Some((_, entries)) => chaos::read_swarm(entries, cx.problems, source),
        None => Vec::new(),
    };
    let expect =
        top.table("expect", cx.problems).map(|(entry, entries)| expect(entry, entries, chaos_keep.as_ref(), &mut cx));
    let expect = top.require("expect", expect, cx.problems);
    top.finish(cx.problems);

    let Timeline { phases, faults, max_concurrent, core_first } = timeline.unwrap_or_default();
    schema?;
    Some(Scenario {
        name: name?.value,
        about: about?.value.to_owned(),
        tags: tags.into_iter().map(|tag| tag.value).collect(),
        cluster: cluster?,
        hardware,
        topics,
        loads,
        phases,
        faults,
        max_concurrent,
        core_first,
        chaos,
        swarm,
        expect: expect?,
    })
}

/// A name that is a good name of a folder, too.
fn file_name(text: &str) -> Result<String, Refusal> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match text.char_indices().find(|(_, c)| !good(*c)) {
        None if !text.is_empty() && text.len() <= 80 => Ok(text.to_owned()),
        Some((at, c)) => Err(Refusal::new(code::OUT_OF_RANGE, at..at + c.len_utf8(), format!("`{c}` in a name"))
            .label("lower-case letters, digits, `-` and `_`")),
        None => Err(Refusal::new(code::OUT_OF_RANGE, 0..text.len(), "a name has 1 to 80 characters")),
    }
}

fn cluster(entry: &Entry, entries: &[Entry], cx: &mut Context<'_>) -> Cluster {
    let mut fields = Fields::new("[cluster]", entry.key_span.clone(), entries);
    fields.later(&["racks"]);
    let brokers = fields.integer("brokers", 1..=99, cx.problems);
    let brokers = fields.require("brokers", brokers, cx.problems);
    let controllers = fields.integer("controllers", 0..=9, cx.problems);
    let timers = fields.word("timers", &[("fast", Timers::Fast), ("kafka", Timers::Kafka)], &[], cx.problems);
    let config = properties(&mut fields, Of::Node, cx);
    let mut host_config = BTreeMap::new();
    let is_host_config = |key: &str| key.strip_prefix("config_").is_some_and(term::is_host);
    for extra in fields.rest(is_host_config) {
        let host = extra.key.trim_start_matches("config_").to_owned();
        if let Some(inner) = table(&extra.node, &extra.key, cx.problems) {
            host_config.insert(host, read_properties(inner, Of::Node, cx));
        }
    }
    fields.hint("config_", "config_b3");
    fields.finish_except(cx.problems, is_host_config);
    let small = |found: Option<Spanned<i64>>, default: u32| {
        found.and_then(|found| u32::try_from(found.value).ok()).unwrap_or(default)
    };
    Cluster {
        brokers: small(brokers, 3),
        controllers: small(controllers, 0),
        timers: timers.map_or(Timers::Fast, |timers| timers.value),
        config,
        host_config,
    }
}

fn properties(fields: &mut Fields<'_>, of: Of, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    match fields.table("config", cx.problems) {
        Some((_, entries)) => read_properties(entries, of, cx),
        None => BTreeMap::new(),
    }
}

fn read_properties(entries: &[Entry], of: Of, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for entry in entries {
        let (name, value) = match &entry.node.value {
            Value::Text(text) => (&entry.key, text.clone()),
            Value::Integer(number) => (&entry.key, number.to_string()),
            Value::Boolean(value) => (&entry.key, value.to_string()),
            Value::Table(_) => {
                cx.problems
                    .error(code::WRONG_TYPE, entry.key_span.clone(), format!("`{}` is a table here", entry.key))
                    .label("a property's name has dots: write it in quotes");
                continue;
            }
            other => {
                cx.problems
                    .error(
                        code::WRONG_TYPE,
                        entry.node.span.clone(),
                        format!("`{}` must be text, a number, true or false", entry.key),
                    )
                    .label(format!("this is {}", other.kind()));
                continue;
            }
        };
        match property::check(of, name, &value) {
            Ok(()) => {
                out.insert(name.clone(), value);
            }
            Err(Wrong::Name) => {
                let whose = if of == Of::Node { "a node" } else { "a topic" };
                let title = format!("`{name}` is no property of {whose} that this version acts on");
                let known = property::names(of);
                let best = super::diagnostic::closest(name, &known);
                let problem = cx.problems.error(code::UNKNOWN_PROPERTY, entry.key_span.clone(), title);
                match best {
                    Some(best) => {
                        problem.label(format!("did you mean `{best}`?"));
                    }
                    None => {
                        problem.note("`simctl check --properties` lists those it acts on");
                    }
                }
            }
            Err(Wrong::Ours) => {
                cx.problems
                    .error(
                        code::UNKNOWN_PROPERTY,
                        entry.key_span.clone(),
                        format!("`{name}` follows from the scenario"),
                    )
                    .label("take this line out");
            }
            Err(Wrong::Value(wanted)) => {
                cx.problems
                    .error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("`{name}` cannot be `{value}`"))
                    .label(wanted);
            }
        }
    }
    out
}

fn hardware(entry: &Entry, entries: &[Entry], cx: &mut Context<'_>) -> Hardware {
    let mut fields = Fields::new("[hardware]", entry.key_span.clone(), entries);
    fields.later(&["links"]);
    fields.word("profile", &[("ideal", ())], &["nvme-plp", "nvme-consumer", "cloud-gp3", "hdd", "file"], cx.problems);
    let (link, disk) = link_and_disk(&mut fields, cx);
    fields.later(&["hosts"]);
    let mut hosts = BTreeMap::new();
    for extra in fields.rest(term::is_host) {
        if let Some(inner) = table(&extra.node, &extra.key, cx.problems) {
            let mut inner = Fields::new(format!("[hardware.{}]", extra.key), extra.key_span.clone(), inner);
            let specs = link_and_disk(&mut inner, cx);
            inner.finish(cx.problems);
            hosts.insert(extra.key.clone(), specs);
        }
    }
    fields.finish_except(cx.problems, term::is_host);
    Hardware { link, disk, hosts }
}

fn link_and_disk(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> (LinkSpec, DiskSpec) {
    let mut link = LinkSpec::default();
    if let Some((entry, entries)) = fields.table("link", cx.problems) {
        let mut inner = Fields::new("a link", entry.node.span.clone(), entries);
        inner.later(&["buffer"]);
        link.latency = duration(&mut inner, "latency", cx.problems, cx.source).map(|found| found.value);
        link.jitter = duration(&mut inner, "jitter", cx.problems, cx.source).map(|found| found.value);
        let mbit_s = inner.integer("mbit_s", 1..=1_000_000, cx.problems);
        link.mbit_s = mbit_s.and_then(|found| u64::try_from(found.value).ok());
        inner.finish(cx.problems);
    }
    let mut disk = DiskSpec::default();
    if let Some((entry, entries)) = fields.table("disk", cx.problems) {
        let mut inner = Fields::new("a disk", entry.node.span.clone(), entries);
        inner.later(&["write_mib_s", "read_mib_s", "iops"]);
        disk.read = duration(&mut inner, "read", cx.problems, cx.source).map(|found| found.value);
        disk.write = duration(&mut inner, "write", cx.problems, cx.source).map(|found| found.value);
        disk.fsync = duration(&mut inner, "fsync", cx.problems, cx.source).map(|found| found.value);
        inner.finish(cx.problems);
    }
    (link, disk)
}

fn topic(entry: &Entry, cx: &mut Context<'_>) -> Option<Topic> {
    let entries = table(&entry.node, &entry.key, cx.problems)?;
    let mut fields = Fields::new(format!("[topics.{}]", entry.key), entry.key_span.clone(), entries);
    fields.later(&["count"]);
    fields.hint("min_insync", "config = { \"min.insync.replicas\" = 2 }");
    fields.hint("min_insync_replicas", "config = { \"min.insync.replicas\" = 2 }");
    fields.hint("replication", "replicas");
    fields.hint("replication_factor", "replicas");
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if entry.key.is_empty()
        || entry.key.len() > 249
        || !entry.key.chars().all(good)
        || matches!(entry.key.as_str(), "." | "..")
    {
        cx.problems
            .error(code::OUT_OF_RANGE, entry.key_span.clone(), format!("`{}` is no name of a topic", entry.key))
            .label("letters, digits, `.`, `_` and `-`, at most 249");
    }
    let partitions = fields.integer("partitions", 1..=10_000, cx.problems);
    let replicas = fields.integer("replicas", 1..=99, cx.problems);
    let config = properties(&mut fields, Of::Topic, cx);
    fields.finish(cx.problems);
    let number = |found: i64| u32::try_from(found).unwrap_or(1);
    Some(Topic {
        name: Spanned::new(entry.key.clone(), entry.key_span.clone()),
        partitions: partitions.map_or(1, |found| number(found.value)),
        replicas: replicas
            .map_or(Spanned::new(1, entry.key_span.clone()), |found| Spanned::new(number(found.value), found.span)),
        config,
    })
}
