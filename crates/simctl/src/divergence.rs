//! Two runs of one seed that are not the same: the first event in which they differ, in words.
//!
//! Checkpoints of the trace's hash, one every thousand events, bracket the place; one more pair of runs keeps every event
//! from there on, and the first that differs is told from both sides ([`Parting`]). What makes a run non-deterministic
//! need not strike at the same place each time: then the next pair is bracketed anew, a few times.

use std::io;
use std::ops::Range;
use std::path::Path;

use harness::event::grouped;
use harness::run::Recorded;

use crate::child::Ask;
use crate::interrupt;
use crate::line::Line;

/// Where two runs part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parting {
    /// This many of their events are the same, and then one differs.
    At {
        /// The last events that both have, the latest last.
        both: Vec<Recorded>,
        /// What the first run goes on with; empty if it ended.
        first: Vec<Recorded>,
        /// What the second run goes on with; empty if it ended.
        second: Vec<Recorded>,
        /// Whether the last event of `both` already differs, in what is not shown in its words.
        within: bool,
    },
    /// The second run came to no end.
    Ended {
        /// What it said last.
        last_words: String,
    },
    /// They differed, and not again when somebody looked.
    Gone {
        /// How many more pairs were run.
        pairs: usize,
    },
}

/// Pairs of runs before it is given up.
const PAIRS: usize = 8;
/// Events kept before the bracket, for the story.
const BEFORE: u64 = 40;
/// Events kept behind the bracket's beginning: more than it has, because the next pair may part a little later.
const KEPT: u64 = 4_000;

/// Looks for the place. `one` and `two` are the pair that differs, with their checkpoints.
pub fn find(ask: &Ask, program: &Path, one: &Line, two: &Line) -> io::Result<Parting> {
    let mut window = window(one, two);
    for pairs in 1..=PAIRS {
        if interrupt::asked() {
            return Ok(Parting::Gone { pairs: pairs - 1 });
        }
        let first = ask.telling(window.clone()).run(program)?;
        let second = ask.again().telling(window.clone()).run(program)?;
        let (Some(one), Some(two)) = (first.line, second.line) else { continue };
        if one.trace == two.trace {
            continue;
        }
        if let Some(parting) = compare(&one.recorded, &two.recorded) {
            return Ok(parting);
        }
        window = self::window(&one, &two);
    }
    Ok(Parting::Gone { pairs: PAIRS })
}

/// The events to look at, if two runs have these checkpoints.
fn window(one: &Line, two: &Line) -> Range<u64> {
    let same = one.checkpoints.iter().zip(&two.checkpoints).take_while(|(one, two)| one == two).count() as u64;
    let from = same * harness::run::CHECKPOINT_EVERY + 1;
    from.saturating_sub(BEFORE).max(1)..from + KEPT
}

/// The first difference, if it is among these events and not before or behind them.
fn compare(one: &[Recorded], two: &[Recorded]) -> Option<Parting> {
    if one.first().map(|event| &event.before) != two.first().map(|event| &event.before) {
        return None;
    }
    let same = one.iter().zip(two).take_while(|(one, two)| one == two).count();
    if same == one.len() && same == two.len() {
        return None;
    }
    const SHOWN: usize = 4;
    let rest = |list: &[Recorded]| list.iter().skip(same).take(SHOWN).cloned().collect::<Vec<_>>();
    let (first, second) = (rest(one), rest(two));
    let within = match (first.first(), second.first()) {
        (Some(one), Some(two)) => one.before != two.before,
        _ => false,
    };
    Some(Parting::At { both: one[same.saturating_sub(SHOWN)..same].to_vec(), first, second, within })
}

impl Parting {
    /// One line: what differs, for a list.
    pub fn short(&self) -> String {
        match self {
            Self::Gone { pairs } => {
                format!("two runs differed; {pairs} more pairs of runs did not show where")
            }
            Self::Ended { last_words } => format!("the second of two runs came to no end: {last_words}"),
            Self::At { both, within: true, .. } => {
                let event = both.last().expect("`within` is about the last of them");
                format!("two runs part within event {}", place(event))
            }
            Self::At { first, second, .. } => {
                let side = |list: &[Recorded]| {
                    list.first().map_or("the run's end".to_owned(), |event| format!("{} {}", event.host, event.text))
                };
                let at = first.first().or(second.first());
                let id = at.map_or(0, |event| event.id);
                let (one, two) = (side(first), side(second));
                if one == two {
                    let times = [first, second].map(|list| list.first().map_or(String::new(), time));
                    return format!("two runs part at event {}: {one}, at {} or {}", number(id), times[0], times[1]);
                }
                format!("two runs part at event {}: {one}, or {two}", number(id))
            }
        }
    }

    /// The story from both sides.
    pub fn story(&self) -> Vec<String> {
        let Self::At { both, first, second, .. } = self else { return Vec::new() };
        let mut lines = Vec::new();
        for (label, list) in [("both", both), ("first", first), ("second", second)] {
            if list.is_empty() {
                lines.push(format!("  {label:<7} the run has ended"));
            }
            for (index, event) in list.iter().enumerate() {
                let because = if event.cause == 0 { String::new() } else { self.because(event.cause) };
                let label = if index == 0 { label } else { "" };
                let text = format!(
                    "  {label:<7} {:>9} {:>12}  {:<10} {}",
                    number(event.id),
                    time(event),
                    event.host,
                    event.text
                );
                lines.push(format!("{}{because}", text.trim_end()));
            }
        }
        lines
    }

    fn because(&self, cause: u64) -> String {
        let Self::At { both, first, second, .. } = self else { return String::new() };
        let known = both.iter().chain(first).chain(second).any(|event| event.id == cause);
        if known { format!("   <- {}", number(cause)) } else { format!("   <- {} (earlier)", number(cause)) }
    }
}

fn number(id: u64) -> String {
    grouped(i64::try_from(id).unwrap_or(i64::MAX))
}

/// With microseconds: what parts two runs is small.
fn time(event: &Recorded) -> String {
    format!("{}.{:06}s", event.at_ns / 1_000_000_000, event.at_ns / 1_000 % 1_000_000)
}

fn place(event: &Recorded) -> String {
    format!("{}: {} {}", number(event.id), event.host, event.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, text: &str, before: &str) -> Recorded {
        Recorded {
            id,
            at_ns: id * 1_000_000,
            host: "b1".into(),
            text: text.into(),
            cause: id - 1,
            before: before.into(),
        }
    }

    #[test]
    fn the_first_event_that_differs_is_told_from_both_sides() {
        let one = [event(5, "a timer ends", "aa"), event(6, "append orders/0 7", "bb"), event(7, "ack", "cc")];
        let two = [event(5, "a timer ends", "aa"), event(6, "append orders/1 9", "bb"), event(7, "ack", "dd")];
        let parting = compare(&one, &two).unwrap();
        assert_eq!(parting.short(), "two runs part at event 6: b1 append orders/0 7, or b1 append orders/1 9");
        insta::assert_snapshot!(parting.story().join("\n"), @r"
          both            5    0.005000s  b1         a timer ends   <- 4 (earlier)
          first           6    0.006000s  b1         append orders/0 7   <- 5
                          7    0.007000s  b1         ack   <- 6
          second          6    0.006000s  b1         append orders/1 9   <- 5
                          7    0.007000s  b1         ack   <- 6
        ");
    }

    #[test]
    fn what_differs_inside_an_event_names_that_event() {
        let one = [event(5, "append orders/0 7", "aa"), event(6, "ack", "bb")];
        let two = [event(5, "append orders/0 7", "aa"), event(6, "ack", "b0")];
        assert_eq!(compare(&one, &two).unwrap().short(), "two runs part within event 5: b1 append orders/0 7");
    }

    #[test]
    fn a_difference_before_the_window_or_none_in_it_is_no_find() {
        let one = [event(5, "a", "aa")];
        assert_eq!(compare(&one, &[event(5, "a", "a0")]), None);
        assert_eq!(compare(&one, &one), None);
        assert_eq!(compare(&one, &[]), None, "nothing to compare");
    }

    #[test]
    fn checkpoints_bracket_the_place() {
        let line = |hashes: &[&str]| Line {
            checkpoints: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
            ..Line::default()
        };
        assert_eq!(window(&line(&["a", "b", "c"]), &line(&["a", "b", "d"])), 1_961..6_001);
        assert_eq!(window(&line(&["a"]), &line(&["b"])), 1..4_001);
        assert_eq!(window(&line(&["a"]), &line(&["a", "b"])), 961..5_001, "one of them ended early");
    }
}
