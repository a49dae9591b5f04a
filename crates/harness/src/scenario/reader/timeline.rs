//! `[timeline]` and `[expect]`: phases, faults, objectives.

use std::ops::Range;

use crate::checker::Keep;

use super::super::diagnostic::{Spanned, Suggest, closest, code};
use super::super::document::{Entry, Fields, Node, Value, read_at, table, text};
use super::super::fault;
use super::super::model::{Allow, Expect, Phase, Reach, ReachKind};
use super::super::slo;
use super::super::term;
use super::super::units::{self, Refusal};
use super::{Context, file_name};

/// What `[timeline]` says.
#[derive(Default)]
pub(super) struct Timeline {
    pub phases: Vec<Phase>,
    pub faults: Vec<fault::FaultLine>,
    pub max_concurrent: Option<u32>,
    pub core_first: bool,
}

/// The words of [`Keep`].
pub(in crate::scenario) const KEEP_WORDS: &[(&str, Keep)] =
    &[("committed", Keep::Committed), ("service", Keep::Service), ("nothing", Keep::Nothing)];

pub(super) fn timeline(entry: &Entry, entries: &[Entry], cx: &mut Context<'_>) -> Timeline {
    let mut fields = Fields::new("[timeline]", entry.key_span.clone(), entries);
    let list = fields.list("phases", cx.problems);
    let list = fields.require("phases", list, cx.problems).unwrap_or_default();
    let phases: Vec<Phase> = list.iter().filter_map(|node| phase(node, cx)).collect();
    if list.is_empty() && fields.has("phases") {
        cx.problems
            .error(code::OUT_OF_RANGE, entry.key_span.clone(), "there is no phase")
            .label("at least one is needed");
    }
    let list = fields.list("faults", cx.problems).unwrap_or_default();
    let mut faults: Vec<_> = list.iter().filter_map(|node| fault::read(node, cx.problems, cx.source)).collect();
    let max_concurrent = fields.integer("max_concurrent", 1..=99, cx.problems);
    let core_first = fields.boolean("core_first", cx.problems);
    fields.finish(cx.problems);
    number_labels(&mut faults);
    Timeline {
        phases,
        faults,
        max_concurrent: max_concurrent.and_then(|found| u32::try_from(found.value).ok()),
        core_first: core_first.is_some_and(|found| found.value),
    }
}

/// Faults without a label are named by their word; the second `kill` is `kill-2`.
fn number_labels(faults: &mut [fault::FaultLine]) {
    for index in 0..faults.len() {
        let word = faults[index].action.word();
        if faults[index].label == word {
            let before = faults[..index].iter().filter(|fault| fault.action.word() == word).count();
            if before > 0 && faults[..index].iter().any(|fault| fault.label == word) {
                faults[index].label = format!("{word}-{}", before + 1);
            }
        }
    }
}

fn phase(node: &Node, cx: &mut Context<'_>) -> Option<Phase> {
    let entries = table(node, "phases", cx.problems)?;
    let mut fields = Fields::new("a phase", node.span.clone(), entries);
    fields.later(&["rate", "stop_when"]);
    let name = fields.read("name", cx.problems, cx.source, file_name);
    let name = fields.require("name", name, cx.problems);
    let length = fields.read("for", cx.problems, cx.source, |text| match units::duration(text)? {
        0 => Err(Refusal::new(code::OUT_OF_RANGE, 0..text.len(), "a phase of no length")),
        length => Ok(length),
    });
    let length = fields.require("for", length, cx.problems);
    let measure = fields.boolean("measure", cx.problems);
    let pause = fields.texts("pause", cx.problems);
    let resume = fields.texts("resume", cx.problems);
    let until = fields.read("until", cx.problems, cx.source, |text| {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["lag", "==", "0"] => Ok(()),
            ["lag", ..] => {
                Err(Refusal::new(code::LATER, 0..text.len(), "other limits of lag come with a later version"))
            }
            _ => Err(Refusal::new(code::UNKNOWN_WORD, 0..text.len(), format!("no such end of a phase: `{text}`"))
                .label("`lag == 0`")),
        }
    });
    fields.finish(cx.problems);
    Some(Phase {
        name: name?,
        length: length?.value,
        measure: measure.is_none_or(|measure| measure.value),
        pause,
        resume,
        until_no_lag: until.is_some(),
    })
}

/// Reads `[expect]`; `chaos_keep` is what `[chaos]` said of `keep`.
pub(super) fn expect(
    entry: &Entry,
    entries: &[Entry],
    chaos_keep: Option<&Spanned<Keep>>,
    cx: &mut Context<'_>,
) -> Expect {
    let mut fields = Fields::new("[expect]", entry.key_span.clone(), entries);
    let safety = safety(&mut fields, cx);
    let slo = fields.list("slo", cx.problems).unwrap_or_default();
    let slo = slo
        .iter()
        .filter_map(|node| {
            let found = text(node, "slo", cx.problems)?;
            let read = read_at(found.value, found.span.clone(), cx.problems, cx.source, slo::read)?;
            let mut slo = read.value;
            slo.text.span = found.span;
            Some(slo)
        })
        .collect();
    let keep = fields.word("keep", KEEP_WORDS, &[], cx.problems);
    if let (Some(here), Some(there)) = (&keep, chaos_keep)
        && here.value != there.value
    {
        cx.problems
            .error(code::NOT_TOGETHER, here.span.clone(), format!("[chaos] says `keep = \"{}\"`", there.value))
            .label("a scenario has one budget: say it once");
    }
    let keep = keep.or(chaos_keep.cloned());
    let reach = fields.list("reach", cx.problems).unwrap_or_default();
    let reach = reach.iter().filter_map(|node| reach_line(node, cx)).collect();
    let allow = fields.list("allow", cx.problems).unwrap_or_default();
    let allow = allow.iter().filter_map(|node| allow_line(node, cx)).collect();
    fields.finish(cx.problems);
    Expect { safety, slo, keep: keep.map_or(Keep::Committed, |keep| keep.value), reach, allow }
}

fn safety(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Vec<String> {
    let Some(entry) = fields.get("safety") else { return Vec::new() };
    let list: Vec<(&str, Range<usize>)> = match &entry.node.value {
        Value::Text(text) if text == "all" => return Vec::new(),
        Value::Text(text) => vec![(text, entry.node.span.clone())],
        Value::List(list) => list
            .iter()
            .filter_map(|node| text(node, "safety", cx.problems).map(|found| (found.value, found.span)))
            .collect(),
        _ => {
            text(&entry.node, "safety", cx.problems);
            return Vec::new();
        }
    };
    list.into_iter().filter_map(|(word, span)| check_name(word, span, cx)).collect()
}

fn check_name(word: &str, span: Range<usize>, cx: &mut Context<'_>) -> Option<String> {
    let known = crate::checker::NAMES.iter().find(|(id, slug)| *id == word || *slug == word);
    if known.is_none() {
        cx.problems.error(code::NOT_A_CHECK, span, format!("no check is called `{word}`")).suggest(
            word,
            "checks",
            crate::checker::NAMES.iter().map(|(_, slug)| *slug),
        );
    }
    known.map(|(_, slug)| (*slug).to_owned())
}

fn reach_line(node: &Node, cx: &mut Context<'_>) -> Option<Reach> {
    let found = text(node, "reach", cx.problems)?;
    let span = found.span.clone();
    let read = read_at(found.value, found.span, cx.problems, cx.source, |text| {
        let (word, scope) = match text.split_once('(') {
            Some((word, rest)) => match rest.strip_suffix(')') {
                Some(scope) => (word, Some(scope.trim())),
                None => return Err(Refusal::new(code::BAD_REACH, 0..text.len(), format!("`{text}` lacks a `)`"))),
            },
            None => (text, None),
        };
        let Some(kind) = ReachKind::of(word) else {
            let known: Vec<&str> = ReachKind::ALL.iter().map(|(word, _)| *word).collect();
            let probes: Vec<&str> = probe::PROBES.iter().map(|probe| probe.name).collect();
            let what = format!("nothing called `{word}` can be reached");
            let mut refusal =
                Refusal::new(code::BAD_REACH, 0..word.len(), what).suggest(word, "what can be reached", &known);
            refusal.notes.push("also the branches that `simctl list --probes` names".to_owned());
            if let Some(best) = closest(word, &probes)
                && refusal.label.is_none()
            {
                refusal.label = Some(format!("did you mean `{best}`?"));
            }
            return Err(refusal);
        };
        if scope.is_some() && !kind.has_scope() {
            return Err(Refusal::new(code::BAD_REACH, word.len()..text.len(), format!("`{word}` has no scope")));
        }
        let (topic, partition) = match scope.map(|scope| (scope, term::partition(scope))) {
            None => (None, None),
            Some((_, Some((topic, partition)))) => (Some(topic), Some(partition)),
            Some((topic, None)) => (Some(topic.to_owned()), None),
        };
        Ok((kind, topic, partition))
    })?;
    let (kind, topic, partition) = read.value;
    Some(Reach { text: Spanned::new(found.value.to_owned(), span), kind, topic, partition })
}

fn allow_line(node: &Node, cx: &mut Context<'_>) -> Option<Allow> {
    let entries = table(node, "allow", cx.problems)?;
    let mut fields = Fields::new("an allowance", node.span.clone(), entries);
    let what = fields.text("what", cx.problems);
    let what = fields.require("what", what, cx.problems);
    let why = fields.text("why", cx.problems);
    let why = fields.require("why", why, cx.problems);
    fields.finish(cx.problems);
    let what = what?;
    let known = matches!(what.value, "quorum-loss" | "slo").then(|| what.value.to_owned());
    let what = match known {
        Some(what) => what,
        None => check_name(what.value, what.span, cx)?,
    };
    Some(Allow { what, why: why?.value.to_owned() })
}
