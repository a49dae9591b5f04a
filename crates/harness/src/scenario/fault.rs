//! The fault vocabulary: one enum, one table of words, one reader of a line.
//!
//! [`WORDS`] repeats the table of the world's specification with the issue that brings each word; a word of a later issue
//! is known and refused. Host terms are resolved when the fault fires, against the leaders observed then.

use std::ops::Range;

use super::diagnostic::{Problems, Source, Spanned, code};
use super::document::{Fields, Node, Value, comes_later, read_at, text};
use super::term::{self, LinkTerm, NodeTerm};
use super::units;

/// Every word, and whether this version acts on it.
pub const WORDS: &[(&str, bool)] = &[
    ("cut", true),
    ("isolate", true),
    ("slow_link", true),
    ("loss", false),
    ("flap", false),
    ("delay_messages", false),
    ("reset_connections", false),
    ("refuse_connections", false),
    ("swizzle", false),
    ("kill", true),
    ("stop", true),
    ("roll", false),
    ("pause", true),
    ("hang", false),
    ("slow_cpu", false),
    ("crash_at", false),
    ("power_off", true),
    ("wipe", false),
    ("twin", false),
    ("slow_disk", true),
    ("stall_disk", false),
    ("read_error", false),
    ("write_error", false),
    ("fsync_error", false),
    ("fsync_lie", false),
    ("disk_full", false),
    ("short_write", false),
    ("lost_rename", false),
    ("bit_rot", false),
    ("misdirected_write", false),
    ("zero_tail", false),
    ("clock_offset", false),
    ("clock_drift", false),
    ("clock_jump", false),
    ("clock_freeze", false),
    ("create_topic", false),
    ("delete_topic", false),
    ("recreate_topic", false),
    ("alter_config", false),
    ("elect_leaders", false),
    ("reassign", false),
    ("add_voter", false),
    ("remove_voter", false),
    ("unclean_election", false),
    ("heal", true),
    ("run", false),
];

/// One line of `faults`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultLine {
    /// When it begins.
    pub at: Spanned<At>,
    /// What happens.
    pub action: Action,
    /// How long it lasts, in ns; nothing means to the end of the run (or for ever, for what has no end).
    pub lasts: Option<u64>,
    /// After how long a host that went down is started again, in ns.
    pub restart_after: Option<u64>,
    /// Its name in SLOs and reports: as given, or the word.
    pub label: String,
    /// The whole line.
    pub span: Range<usize>,
}

/// When a fault begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// So long after the start of the first phase, in ns.
    Absolute(u64),
    /// So long after the start of a phase, in ns.
    Phase(String, u64),
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Silence on a link.
    Cut(Spanned<LinkTerm>),
    /// A host is cut from all others.
    Isolate(Spanned<NodeTerm>),
    /// A link gets worse.
    SlowLink {
        /// Which.
        link: Spanned<LinkTerm>,
        /// New latency, ns.
        latency: Option<u64>,
        /// New jitter, ns.
        jitter: Option<u64>,
        /// New bandwidth, Mbit/s.
        mbit_s: Option<u64>,
    },
    /// Processes exit: sockets close, the page cache stays.
    Kill(Vec<Spanned<NodeTerm>>),
    /// Processes are asked to stop and do so in good order.
    Stop(Vec<Spanned<NodeTerm>>),
    /// Processes freeze.
    Pause(Vec<Spanned<NodeTerm>>),
    /// Hosts are lost: silence; what was not synced is lost, or torn.
    PowerOff {
        /// Which.
        hosts: Vec<Spanned<NodeTerm>>,
        /// What becomes of unsynced data.
        lose: LoseData,
        /// The unit that a drive writes whole, in bytes: what is under way tears between two of them.
        torn_write: Option<u64>,
    },
    /// Operations of a disk take longer.
    SlowDisk {
        /// Whose.
        host: Spanned<NodeTerm>,
        /// A read.
        read: Option<Slower>,
        /// A write.
        write: Option<Slower>,
        /// A sync.
        fsync: Option<Slower>,
    },
    /// Ends other faults.
    Heal(Heal),
}

/// What a power failure does to data that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoseData {
    /// All of it is lost; with `torn_write`, each file keeps a beginning of it.
    Unsynced,
    /// Each page is old, new or torn, as chance has it.
    Mix,
    /// None: the drive's cache and the kernel's made it.
    Nothing,
}

/// The words of [`LoseData`].
pub(super) const LOSE_WORDS: &[(&str, LoseData)] =
    &[("unsynced", LoseData::Unsynced), ("mix", LoseData::Mix), ("nothing", LoseData::Nothing)];

/// How much slower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slower {
    /// So many times, in thousandths.
    Times(u64),
    /// So long, in ns.
    Takes(u64),
}

/// What `heal` ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heal {
    /// Everything.
    All,
    /// The fault with this label.
    Label(Spanned<String>),
    /// Every cut and slowness of a link.
    Link(Spanned<LinkTerm>),
}

impl Action {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
            Self::SlowDisk { .. } => "slow_disk",
            Self::Heal(_) => "heal",
        }
    }

    /// The hosts that stop serving by it: not those that are only cut off.
    pub fn downs(&self) -> &[Spanned<NodeTerm>] {
        match self {
            Self::Kill(hosts) | Self::Stop(hosts) | Self::PowerOff { hosts, .. } => hosts,
            _ => &[],
        }
    }

    /// Whether it has a length (`for`).
    const fn has_length(&self) -> bool {
        matches!(self, Self::Cut(_) | Self::Isolate(_) | Self::SlowLink { .. } | Self::Pause(_) | Self::SlowDisk { .. })
    }
}

/// Reads one line of `faults`.
pub fn read(node: &Node, problems: &mut Problems, source: &Source) -> Option<FaultLine> {
    let entries = super::document::table(node, "faults", problems)?;
    let mut fields = Fields::new("a fault", node.span.clone(), entries);
    let at = fields.read("at", problems, source, read_at_term);
    let at = fields.require("at", at, problems);
    let label = fields.text("label", problems).map(|label| label.value.to_owned());

    let mut words = entries.iter().filter(|entry| WORDS.iter().any(|(word, _)| *word == entry.key));
    let Some(word) = words.next() else {
        if let Some(entry) = fields.rest(|key| !["for", "restart_after"].contains(&key)).first() {
            problems
                .error(code::UNKNOWN_WORD, entry.key_span.clone(), format!("unknown fault `{}`", entry.key))
                .suggest(&entry.key, "faults", WORDS.iter().filter(|(_, now)| *now).map(|(word, _)| *word));
            return None;
        }
        problems
            .error(code::MISSING_KEY, node.span.clone(), "this fault does nothing")
            .label("one word is needed: kill, cut, pause, …");
        return None;
    };
    if let Some(second) = words.next() {
        problems
            .error(
                code::NOT_TOGETHER,
                second.key_span.clone(),
                format!("`{}` and `{}` in one fault", word.key, second.key),
            )
            .label("one fault, one line");
        return None;
    }
    let &(name, now) = WORDS.iter().find(|(known, _)| *known == word.key)?;
    if !now {
        comes_later(problems, word.key_span.clone(), &format!("the fault `{name}`"));
        return None;
    }
    let action = read_action(name, &mut fields, problems, source);
    let lasts = if action.as_ref().is_none_or(Action::has_length) {
        super::document::duration(&mut fields, "for", problems, source)
    } else {
        None
    };
    let restarts = action.as_ref().is_none_or(|action| !action.downs().is_empty());
    let restart_after =
        if restarts { super::document::duration(&mut fields, "restart_after", problems, source) } else { None };
    fields.hint("for", "restart_after");
    fields.hint("restart_after", "for");
    fields.title = format!("the fault `{name}`");
    fields.finish(problems);
    Some(FaultLine {
        at: at?,
        action: action?,
        lasts: lasts.map(|lasts| lasts.value),
        restart_after: restart_after.map(|after| after.value),
        label: label.unwrap_or_else(|| name.to_owned()),
        span: node.span.clone(),
    })
}

fn read_action(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<Action> {
    Some(match name {
        "cut" => Action::Cut(fields.read(name, problems, source, term::link)?),
        "isolate" => Action::Isolate(fields.read(name, problems, source, term::node)?),
        "slow_link" => {
            let latency = super::document::duration(fields, "latency", problems, source);
            let jitter = super::document::duration(fields, "jitter", problems, source);
            let mbit_s = fields.integer("mbit_s", 1..=1_000_000, problems);
            let link = fields.read(name, problems, source, term::link)?;
            if latency.is_none()
                && jitter.is_none()
                && mbit_s.is_none()
                && !["latency", "jitter", "mbit_s"].iter().any(|key| fields.has(key))
            {
                problems
                    .error(code::MISSING_KEY, link.span.clone(), "this link gets no slower")
                    .label("say `latency`, `jitter` or `mbit_s`");
                return None;
            }
            Action::SlowLink {
                link,
                latency: latency.map(|found| found.value),
                jitter: jitter.map(|found| found.value),
                mbit_s: mbit_s.and_then(|found| u64::try_from(found.value).ok()),
            }
        }
        "kill" => Action::Kill(hosts(name, fields, problems, source)?),
        "stop" => Action::Stop(hosts(name, fields, problems, source)?),
        "pause" => Action::Pause(hosts(name, fields, problems, source)?),
        "power_off" => {
            let lose = fields.word("lose", LOSE_WORDS, &[], problems);
            let torn_write = fields.read("torn_write", problems, source, |text| {
                let bytes = units::size(text)?;
                if bytes >= 512 && bytes.is_power_of_two() {
                    return Ok(bytes);
                }
                Err(units::Refusal::new(code::OUT_OF_RANGE, 0..text.len(), "`torn_write` is the size of a page")
                    .label("a power of two from 512B"))
            });
            Action::PowerOff {
                hosts: hosts(name, fields, problems, source)?,
                lose: lose.map_or(LoseData::Unsynced, |lose| lose.value),
                torn_write: torn_write.map(|size| size.value),
            }
        }
        "slow_disk" => {
            let [read, write, fsync] = ["read", "write", "fsync"].map(|key| fields.read(key, problems, source, slower));
            let x = fields.read("x", problems, source, slower).map(|found| found.value);
            let host = fields.read(name, problems, source, term::node)?;
            let [read, write, fsync] = [read, write, fsync].map(|found| found.map(|found| found.value).or(x));
            if read.is_none() && write.is_none() && fsync.is_none() {
                if !["read", "write", "fsync", "x"].iter().any(|key| fields.has(key)) {
                    problems
                        .error(code::MISSING_KEY, host.span.clone(), "this disk gets no slower")
                        .label("say `read`, `write`, `fsync` or `x`: \"20ms\" or \"x40\"");
                }
                return None;
            }
            Action::SlowDisk { host, read, write, fsync }
        }
        "heal" => {
            let found = fields.text(name, problems)?;
            Action::Heal(if found.value == "all" {
                Heal::All
            } else if found.value.contains("->") || found.value.contains('|') {
                Heal::Link(read_at(found.value, found.span, problems, source, term::link)?)
            } else {
                Heal::Label(Spanned::new(found.value.to_owned(), found.span))
            })
        }
        _ => return None,
    })
}

/// One host term, or a list of them.
fn hosts(
    key: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<Vec<Spanned<NodeTerm>>> {
    let entry = fields.get(key)?;
    let list = match &entry.node.value {
        Value::List(list) => list.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let terms: Vec<_> = list
        .iter()
        .filter_map(|node| {
            let found = text(node, key, problems)?;
            read_at(found.value, found.span, problems, source, term::node)
        })
        .collect();
    if list.is_empty() {
        problems.error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("`{key}` of nobody"));
    }
    (terms.len() == list.len() && !terms.is_empty()).then_some(terms)
}

fn slower(text: &str) -> Result<Slower, units::Refusal> {
    match text.strip_prefix('x') {
        Some(times) => match units::percent(&format!("{times}%")) {
            Some(hundredths) if hundredths > 0 => Ok(Slower::Times(hundredths * 10)),
            _ => Err(units::Refusal::new(code::BAD_DURATION, 0..text.len(), format!("`{text}` is no factor"))
                .label("like `x40`")),
        },
        None => units::duration(text).map(Slower::Takes).map_err(|mut refusal| {
            refusal.label = Some("a duration like `20ms`, or a factor like `x40`".to_owned());
            refusal
        }),
    }
}

fn read_at_term(text: &str) -> Result<At, units::Refusal> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return units::duration(text).map(At::Absolute);
    }
    let (phase, offset) = match text.split_once('+') {
        Some((phase, rest)) => {
            let offset = units::duration(rest.trim())
                .map_err(|refusal| refusal.shifted(text.len() - rest.trim_start().len()))?;
            (phase.trim_end(), offset)
        }
        None => (text.trim(), 0),
    };
    Ok(At::Phase(phase.to_owned(), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_counts_from_a_phase() {
        assert_eq!(read_at_term("20s"), Ok(At::Absolute(20_000_000_000)));
        assert_eq!(read_at_term("failover"), Ok(At::Phase("failover".into(), 0)));
        assert_eq!(read_at_term("failover + 2s"), Ok(At::Phase("failover".into(), 2_000_000_000)));
        assert_eq!(read_at_term("failover+2x").unwrap_err().at, 10..11);
    }

    #[test]
    fn slower_is_a_factor_or_a_time() {
        assert_eq!(slower("x40"), Ok(Slower::Times(40_000)));
        assert_eq!(slower("x1.5"), Ok(Slower::Times(1_500)));
        assert_eq!(slower("20ms"), Ok(Slower::Takes(20_000_000)));
        assert!(slower("40").is_err());
        assert!(slower("x").is_err());
    }
}
