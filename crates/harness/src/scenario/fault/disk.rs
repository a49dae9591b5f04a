//! Faults of disks.

use super::super::diagnostic::{Problems, Source, Spanned, code};
use super::super::document::Fields;
use super::super::term::{self, NodeTerm};
use super::super::units;
use super::super::units::show_duration;
use super::{Target, one};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &["slow_disk"];

/// What happens to disks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskAction {
    /// Operations of a disk take longer.
    Slow {
        /// Whose.
        host: Spanned<NodeTerm>,
        /// A read.
        read: Option<Slower>,
        /// A write.
        write: Option<Slower>,
        /// A sync.
        fsync: Option<Slower>,
    },
}

/// How much slower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slower {
    /// So many times, in thousandths.
    Times(u64),
    /// So long, in ns.
    Takes(u64),
}

impl DiskAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow_disk",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Slow { host, .. } => one(host),
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::Slow { .. } => true,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Slow { read, write, fsync, .. } => [("read", read), ("write", write), ("fsync", fsync)]
                .into_iter()
                .filter_map(|(key, value)| value.map(|slower| format!("{key} = \"{slower}\"")))
                .collect(),
        }
    }
}

impl std::fmt::Display for Slower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Takes(nanos) => f.write_str(&show_duration(nanos)),
            Self::Times(thousandths) if thousandths.is_multiple_of(1_000) => write!(f, "x{}", thousandths / 1_000),
            Self::Times(thousandths) => write!(f, "x{}.{:03}", thousandths / 1_000, thousandths % 1_000),
        }
    }
}

pub(super) fn read(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
) -> Option<DiskAction> {
    Some(match name {
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
            DiskAction::Slow { host, read, write, fsync }
        }
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_is_a_factor_or_a_time() {
        assert_eq!(slower("x40"), Ok(Slower::Times(40_000)));
        assert_eq!(slower("x1.5"), Ok(Slower::Times(1_500)));
        assert_eq!(slower("20ms"), Ok(Slower::Takes(20_000_000)));
        assert!(slower("40").is_err());
        assert!(slower("x").is_err());
    }
}
