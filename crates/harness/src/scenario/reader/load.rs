//! `[load.NAME]`: what it does, how often and how much.

use super::super::diagnostic::{Spanned, code};
use super::super::document::{Entry, Fields, Value, comes_later, duration, table};
use super::super::model::{Arrivals, Keys, Load, Pace, Produce, Work};
use super::super::term;
use super::super::units::{self, Refusal};
use super::Context;

const KINDS: [&str; 3] = ["produce", "consume", "echo"];

pub(super) fn load(entry: &Entry, cx: &mut Context<'_>) -> Option<Load> {
    let entries = table(&entry.node, &entry.key, cx.problems)?;
    let title = format!("[load.{}]", entry.key);
    let mut fields = Fields::new(title.clone(), entry.key_span.clone(), entries);
    fields.later(&["transact", "admin", "group", "commit", "isolation", "rack", "compressible"]);
    fields.hint("topic", "produce");
    fields.hint("size", "record");
    let mut kinds = KINDS.iter().filter(|kind| fields.has(kind)).copied();
    let kind = kinds.next();
    if let Some(second) = kinds.next() {
        let span = entries.iter().find(|entry| entry.key == second).map_or(0..0, |entry| entry.key_span.clone());
        cx.problems.error(
            code::NOT_TOGETHER,
            span,
            format!("{title} both {}s and {second}s", kind.unwrap_or_default()),
        );
        return None;
    }
    let clients = fields.integer("clients", 1..=1_000, cx.problems);
    let work = match kind {
        Some("produce") => produce(&mut fields, cx).map(Work::Produce),
        Some("consume") => {
            let topic = fields.text("consume", cx.problems);
            topic.map(|topic| Work::Consume { topic: Spanned::new(topic.value.to_owned(), topic.span) })
        }
        Some(_) => echo(&mut fields, cx),
        None => {
            if !["transact", "admin"].iter().any(|key| fields.has(key)) {
                cx.problems
                    .error(code::MISSING_KEY, entry.key_span.clone(), format!("{title} does nothing"))
                    .label("it needs `produce`, `consume` or `echo`");
            }
            for kind in KINDS {
                fields.get(kind);
            }
            None
        }
    };
    if kind.is_some() || work.is_some() {
        fields.finish(cx.problems);
    }
    Some(Load {
        name: Spanned::new(entry.key.clone(), entry.key_span.clone()),
        clients: clients.and_then(|found| u32::try_from(found.value).ok()).unwrap_or(1),
        work: work?,
    })
}

/// A value that is wrong is reported and replaced, so that nothing else is said about a load that is there.
fn pace(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Pace {
    let rate = fields.read("rate", cx.problems, cx.source, units::rate);
    let rate = fields.require("rate", rate, cx.problems);
    let arrivals = fields.word(
        "arrivals",
        &[("uniform", Arrivals::Uniform), ("poisson", Arrivals::Poisson)],
        &["burst"],
        cx.problems,
    );
    let record = fields.read("record", cx.problems, cx.source, |text| {
        if text.starts_with("lognormal(") {
            return Err(Refusal::new(code::LATER, 0..text.len(), "a distribution of sizes comes with a later version"));
        }
        let bytes = units::size(text)?;
        // The value carries the number of its send (8 bytes) and enough more to tell foreign bytes.
        if (16..=1 << 20).contains(&bytes) {
            return Ok(bytes);
        }
        Err(Refusal::new(code::OUT_OF_RANGE, 0..text.len(), format!("a record of {bytes} bytes"))
            .label("from 16B to 1MiB"))
    });
    Pace {
        rate: rate.map_or(1_000, |found| found.value),
        arrivals: arrivals.map_or(Arrivals::Uniform, |found| found.value),
        record: record.map_or(1024, |found| found.value),
    }
}

fn produce(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Option<Produce> {
    let topic = fields.text("produce", cx.problems);
    let pace = pace(fields, cx);
    let keys = fields.read("keys", cx.problems, cx.source, keys);
    let acks = match fields.get("acks") {
        None => -1,
        Some(entry) => match &entry.node.value {
            Value::Text(text) if text == "all" => -1,
            Value::Integer(-1) => -1,
            Value::Integer(0) => 0,
            Value::Integer(1) => 1,
            _ => {
                cx.problems
                    .error(code::UNKNOWN_WORD, entry.node.span.clone(), "no such `acks`")
                    .label("0, 1 or \"all\"");
                -1
            }
        },
    };
    if let Some(found) = fields.boolean("idempotent", cx.problems)
        && found.value
    {
        comes_later(cx.problems, found.span, "`idempotent = true`");
    }
    let batch = fields.read("batch", cx.problems, cx.source, units::size);
    let linger = duration(fields, "linger", cx.problems, cx.source);
    let timeout = duration(fields, "timeout", cx.problems, cx.source);
    let in_flight = fields.integer("in_flight", 1..=100, cx.problems);
    let topic = topic?;
    Some(Produce {
        topic: Spanned::new(topic.value.to_owned(), topic.span),
        pace,
        keys: keys.map_or(Keys::None, |found| found.value),
        acks,
        batch: batch.map_or(16 << 10, |found| found.value),
        linger: linger.map_or(5_000_000, |found| found.value),
        timeout: timeout.map_or(20_000_000_000, |found| found.value),
        in_flight: in_flight.and_then(|found| u32::try_from(found.value).ok()).unwrap_or(1),
    })
}

fn keys(text: &str) -> Result<Keys, Refusal> {
    match text {
        "none" => Ok(Keys::None),
        "seq" => Ok(Keys::Seq),
        _ if text.starts_with("zipf(") => {
            Err(Refusal::new(code::LATER, 0..text.len(), "`zipf` keys come with a later version"))
        }
        _ => text
            .strip_prefix("uniform(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|number| number.trim().replace('_', "").parse::<u64>().ok())
            .filter(|number| *number > 0)
            .map(Keys::Uniform)
            .ok_or_else(|| {
                Refusal::new(code::UNKNOWN_WORD, 0..text.len(), format!("no such keys: `{text}`"))
                    .label("`none`, `seq` or `uniform(1000)`")
            }),
    }
}

fn echo(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Option<Work> {
    let pair = fields.read("echo", cx.problems, cx.source, |text| {
        let link = term::link(text)?;
        match (link.one_way, link.from.as_slice(), link.to.as_slice()) {
            (true, [term::NodeTerm::Host(from)], [term::NodeTerm::Host(to)]) if from != to => {
                Ok((from.clone(), to.clone()))
            }
            _ => Err(Refusal::new(code::BAD_TERM, 0..text.len(), "an echo goes from one host to another")
                .label("like `b2 -> b1`")),
        }
    });
    let pace = pace(fields, cx);
    let timeout = duration(fields, "timeout", cx.problems, cx.source);
    let pair = pair?;
    Some(Work::Echo {
        from: Spanned::new(pair.value.0, pair.span.clone()),
        to: Spanned::new(pair.value.1, pair.span),
        pace,
        timeout: timeout.map_or(1_000_000_000, |found| found.value),
    })
}
