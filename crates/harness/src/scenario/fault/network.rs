//! Faults of links and connections.

use super::super::diagnostic::{Problems, Source, Spanned, code};
use super::super::document::{Fields, Value, duration};
use super::super::term::{self, LinkTerm, NodeTerm};
use super::super::units::{show_duration, show_share};
use super::{Target, hosts, one, share};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &[
    "cut",
    "isolate",
    "slow_link",
    "loss",
    "flap",
    "delay_messages",
    "reset_connections",
    "refuse_connections",
    "swizzle",
    "hang",
];

/// What happens to links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetworkAction {
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
    /// A link loses some of what it carries.
    Loss {
        /// Which.
        link: Spanned<LinkTerm>,
        /// How much, in parts per million.
        share: u32,
    },
    /// A link is cut and whole in turn.
    Flap {
        /// Which.
        link: Spanned<LinkTerm>,
        /// How long it is either, ns.
        every: u64,
    },
    /// Some of what a link carries arrives late.
    DelayMessages {
        /// Which.
        link: Spanned<LinkTerm>,
        /// How much, in parts per million.
        share: u32,
        /// How late, ns.
        by: u64,
    },
    /// RST to both ends of every connection of a link; `->`: of those opened this way.
    ResetLink(Spanned<LinkTerm>),
    /// RST to both ends of every connection that a host has with others.
    ResetHosts(Vec<Spanned<NodeTerm>>),
    /// Hosts take no new connection.
    RefuseConnections(Vec<Spanned<NodeTerm>>),
    /// Hosts are cut off one after the other and come back in another order; needs a length.
    Swizzle(Vec<Spanned<NodeTerm>>),
    /// Processes accept and never answer.
    Hang(Vec<Spanned<NodeTerm>>),
}

impl NetworkAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
            Self::Loss { .. } => "loss",
            Self::Flap { .. } => "flap",
            Self::DelayMessages { .. } => "delay_messages",
            Self::ResetLink(_) | Self::ResetHosts(_) => "reset_connections",
            Self::RefuseConnections(_) => "refuse_connections",
            Self::Swizzle(_) => "swizzle",
            Self::Hang(_) => "hang",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Cut(link)
            | Self::SlowLink { link, .. }
            | Self::Loss { link, .. }
            | Self::Flap { link, .. }
            | Self::DelayMessages { link, .. }
            | Self::ResetLink(link) => Target::Link(link),
            Self::Isolate(host) => one(host),
            Self::ResetHosts(hosts) | Self::RefuseConnections(hosts) | Self::Swizzle(hosts) | Self::Hang(hosts) => {
                Target::Hosts(hosts)
            }
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::ResetLink(_) | Self::ResetHosts(_) => false,
            Self::Cut(_)
            | Self::Isolate(_)
            | Self::SlowLink { .. }
            | Self::Loss { .. }
            | Self::Flap { .. }
            | Self::DelayMessages { .. }
            | Self::RefuseConnections(_)
            | Self::Swizzle(_)
            | Self::Hang(_) => true,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Loss { share, .. } => vec![format!("share = \"{}\"", show_share(*share))],
            Self::Flap { every, .. } => vec![format!("every = \"{}\"", show_duration(*every))],
            Self::DelayMessages { share, by, .. } => {
                vec![format!("share = \"{}\"", show_share(*share)), format!("by = \"{}\"", show_duration(*by))]
            }
            Self::Cut(_)
            | Self::Isolate(_)
            | Self::ResetLink(_)
            | Self::ResetHosts(_)
            | Self::RefuseConnections(_)
            | Self::Swizzle(_)
            | Self::Hang(_) => Vec::new(),
            Self::SlowLink { latency, jitter, mbit_s, .. } => {
                let mut arguments = Vec::new();
                arguments.extend(latency.map(|nanos| format!("latency = \"{}\"", show_duration(nanos))));
                arguments.extend(jitter.map(|nanos| format!("jitter = \"{}\"", show_duration(nanos))));
                arguments.extend(mbit_s.map(|mbit_s| format!("mbit_s = {mbit_s}")));
                arguments
            }
        }
    }
}

pub(super) fn read(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<NetworkAction> {
    Some(match name {
        "cut" => NetworkAction::Cut(fields.read(name, problems, source, term::link)?),
        "isolate" => NetworkAction::Isolate(fields.read(name, problems, source, term::node)?),
        "slow_link" => {
            let latency = duration(fields, "latency", problems, source);
            let jitter = duration(fields, "jitter", problems, source);
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
            NetworkAction::SlowLink {
                link,
                latency: latency.map(|found| found.value),
                jitter: jitter.map(|found| found.value),
                mbit_s: mbit_s.and_then(|found| u64::try_from(found.value).ok()),
            }
        }
        "loss" => {
            let share = share(fields, problems, source);
            NetworkAction::Loss { link: fields.read(name, problems, source, term::link)?, share: share? }
        }
        "flap" => {
            let every = positive(name, "every", fields, problems, source);
            NetworkAction::Flap { link: fields.read(name, problems, source, term::link)?, every: every? }
        }
        "delay_messages" => {
            let share = share(fields, problems, source);
            let by = positive(name, "by", fields, problems, source);
            let link = fields.read(name, problems, source, term::link)?;
            NetworkAction::DelayMessages { link, share: share?, by: by? }
        }
        "reset_connections" => match fields.get(name).map(|entry| &entry.node.value) {
            Some(Value::Text(text)) if term::is_link(text) => {
                NetworkAction::ResetLink(fields.read(name, problems, source, term::link)?)
            }
            _ => NetworkAction::ResetHosts(hosts(name, fields, problems, source)?),
        },
        "refuse_connections" => NetworkAction::RefuseConnections(hosts(name, fields, problems, source)?),
        "hang" => NetworkAction::Hang(hosts(name, fields, problems, source)?),
        "swizzle" => {
            let list = hosts(name, fields, problems, source)?;
            if !fields.has("for") {
                problems
                    .error(code::MISSING_KEY, fields.span.clone(), "the fault `swizzle` needs the key `for`")
                    .label("hosts are cut off in its first half and come back in the second");
                return None;
            }
            NetworkAction::Swizzle(list)
        }
        _ => return None,
    })
}

/// A time that must be there and be some.
fn positive(
    name: &str,
    key: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<u64> {
    let found = duration(fields, key, problems, source);
    let found = fields.require(key, found, problems)?;
    if found.value == 0 {
        problems
            .error(code::OUT_OF_RANGE, found.span, format!("`{key}` of the fault `{name}` is nothing"))
            .label("a time like `500ms`");
        return None;
    }
    Some(found.value)
}
