//! Faults of links.

use super::super::diagnostic::{Problems, Source, Spanned, code};
use super::super::document::{Fields, duration};
use super::super::term::{self, LinkTerm, NodeTerm};
use super::super::units::show_duration;
use super::{Target, one};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &["cut", "isolate", "slow_link"];

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
}

impl NetworkAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Cut(link) | Self::SlowLink { link, .. } => Target::Link(link),
            Self::Isolate(host) => one(host),
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::Cut(_) | Self::Isolate(_) | Self::SlowLink { .. } => true,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Cut(_) | Self::Isolate(_) => Vec::new(),
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
        _ => return None,
    })
}
