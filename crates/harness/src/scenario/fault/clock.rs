//! Faults of clocks.

use super::super::diagnostic::{Problems, Source, Spanned};
use super::super::document::Fields;
use super::super::term::NodeTerm;
use super::super::units::{self, show_signed_duration};
use super::{Target, hosts};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &["clock_offset", "clock_drift", "clock_jump", "clock_freeze"];

/// What happens to clocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClockAction {
    /// Wall clocks are wrong for a while.
    Offset {
        /// Whose.
        hosts: Vec<Spanned<NodeTerm>>,
        /// What they are ahead by, ns.
        by: i64,
    },
    /// Both clocks of hosts run fast or slow.
    Drift {
        /// Whose.
        hosts: Vec<Spanned<NodeTerm>>,
        /// How much faster, in parts per million.
        ppm: i64,
    },
    /// Wall clocks are set.
    Jump {
        /// Whose.
        hosts: Vec<Spanned<NodeTerm>>,
        /// How far forward, ns.
        by: i64,
    },
    /// Wall clocks stand.
    Freeze(Vec<Spanned<NodeTerm>>),
}

impl ClockAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Offset { .. } => "clock_offset",
            Self::Drift { .. } => "clock_drift",
            Self::Jump { .. } => "clock_jump",
            Self::Freeze(_) => "clock_freeze",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Offset { hosts, .. } | Self::Drift { hosts, .. } | Self::Jump { hosts, .. } | Self::Freeze(hosts) => {
                Target::Hosts(hosts)
            }
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::Offset { .. } | Self::Drift { .. } | Self::Freeze(_) => true,
            Self::Jump { .. } => false,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Offset { by, .. } | Self::Jump { by, .. } => {
                vec![format!("by = \"{}\"", show_signed_duration(*by))]
            }
            Self::Drift { ppm, .. } => vec![format!("ppm = {ppm}")],
            Self::Freeze(_) => Vec::new(),
        }
    }
}

pub(super) fn read(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<ClockAction> {
    Some(match name {
        "clock_offset" | "clock_jump" => {
            let by = fields.read("by", problems, source, units::signed_duration);
            let by = fields.require("by", by, problems);
            let (hosts, by) = (hosts(name, fields, problems, source)?, by?.value);
            if name == "clock_jump" { ClockAction::Jump { hosts, by } } else { ClockAction::Offset { hosts, by } }
        }
        "clock_drift" => {
            // At a millionth of its speed a clock all but stands; at -1,000,000 its timers would never end.
            let ppm = fields.integer("ppm", -999_999..=10_000_000, problems);
            let ppm = fields.require("ppm", ppm, problems);
            ClockAction::Drift { hosts: hosts(name, fields, problems, source)?, ppm: ppm?.value }
        }
        "clock_freeze" => ClockAction::Freeze(hosts(name, fields, problems, source)?),
        _ => return None,
    })
}
