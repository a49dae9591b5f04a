//! Faults of disks.

use world::Which;

use super::super::diagnostic::{Problems, Source, Spanned, code};
use super::super::document::Fields;
use super::super::term::{self, NodeTerm};
use super::super::units::{self, show_duration};
use super::{Target, one, share};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &[
    "slow_disk",
    "stall_disk",
    "read_error",
    "write_error",
    "fsync_error",
    "fsync_lie",
    "disk_full",
    "short_write",
    "lost_rename",
    "bit_rot",
    "misdirected_write",
    "zero_tail",
];

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
    /// Operations do not complete.
    Stall(Spanned<NodeTerm>),
    /// Reads fail with EIO.
    ReadError(Spanned<NodeTerm>, Which),
    /// Writes fail with EIO.
    WriteError(Spanned<NodeTerm>, Which),
    /// Syncs fail with EIO, once told, and what they covered is on no disk.
    SyncError(Spanned<NodeTerm>, Which),
    /// Syncs succeed and do nothing.
    SyncLie(Spanned<NodeTerm>),
    /// So many bytes more, then ENOSPC.
    Full(Spanned<NodeTerm>, u64),
    /// Writes take a part only.
    ShortWrite(Spanned<NodeTerm>, Which),
    /// At a power loss names that were not synced are gone.
    LostRename(Spanned<NodeTerm>),
    /// Sectors at rest change.
    BitRot {
        /// Whose.
        host: Spanned<NodeTerm>,
        /// Of which files: a glob.
        files: String,
        /// The chance of each sector, in parts per million.
        share: u32,
    },
    /// A sector of a write lands elsewhere.
    MisdirectedWrite(Spanned<NodeTerm>, Which),
    /// At a power loss what had grown is zeros.
    ZeroTail(Spanned<NodeTerm>),
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
            Self::Stall(_) => "stall_disk",
            Self::ReadError(..) => "read_error",
            Self::WriteError(..) => "write_error",
            Self::SyncError(..) => "fsync_error",
            Self::SyncLie(_) => "fsync_lie",
            Self::Full(..) => "disk_full",
            Self::ShortWrite(..) => "short_write",
            Self::LostRename(_) => "lost_rename",
            Self::BitRot { .. } => "bit_rot",
            Self::MisdirectedWrite(..) => "misdirected_write",
            Self::ZeroTail(_) => "zero_tail",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Slow { host, .. }
            | Self::Stall(host)
            | Self::ReadError(host, _)
            | Self::WriteError(host, _)
            | Self::SyncError(host, _)
            | Self::SyncLie(host)
            | Self::Full(host, _)
            | Self::ShortWrite(host, _)
            | Self::LostRename(host)
            | Self::BitRot { host, .. }
            | Self::MisdirectedWrite(host, _)
            | Self::ZeroTail(host) => one(host),
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        !matches!(self, Self::BitRot { .. })
    }

    /// Whether a process stops when it sees what this does.
    pub const fn may_stop(&self) -> bool {
        match self {
            Self::ReadError(..)
            | Self::WriteError(..)
            | Self::SyncError(..)
            | Self::BitRot { .. }
            | Self::MisdirectedWrite(..) => true,
            Self::Slow { .. } | Self::Stall(_) | Self::SyncLie(_) | Self::Full(..) | Self::ShortWrite(..) => false,
            Self::LostRename(_) | Self::ZeroTail(_) => false,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Slow { read, write, fsync, .. } => [("read", read), ("write", write), ("fsync", fsync)]
                .into_iter()
                .filter_map(|(key, value)| value.map(|slower| format!("{key} = \"{slower}\"")))
                .collect(),
            Self::ReadError(_, which)
            | Self::WriteError(_, which)
            | Self::SyncError(_, which)
            | Self::ShortWrite(_, which)
            | Self::MisdirectedWrite(_, which) => vec![argument(*which)],
            Self::Full(_, after) => vec![format!("after = \"{}\"", units::show_size(*after))],
            Self::BitRot { files, share, .. } => {
                vec![format!("files = \"{files}\""), format!("share = \"{}\"", units::show_share(*share))]
            }
            Self::Stall(_) | Self::SyncLie(_) | Self::LostRename(_) | Self::ZeroTail(_) => Vec::new(),
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
    let mut some = |default| {
        // Before the host, so that each is complained of by itself.
        let which = which(name, fields, problems, source, default);
        Some((fields.read(name, problems, source, disk)?, which?))
    };
    Some(match name {
        "read_error" => some(None).map(|(host, which)| DiskAction::ReadError(host, which))?,
        "write_error" => some(None).map(|(host, which)| DiskAction::WriteError(host, which))?,
        "fsync_error" => some(Some(Which::Nth(1))).map(|(host, which)| DiskAction::SyncError(host, which))?,
        "short_write" => some(None).map(|(host, which)| DiskAction::ShortWrite(host, which))?,
        "misdirected_write" => some(None).map(|(host, which)| DiskAction::MisdirectedWrite(host, which))?,
        "slow_disk" => {
            let [read, write, fsync] = ["read", "write", "fsync"].map(|key| fields.read(key, problems, source, slower));
            let x = fields.read("x", problems, source, slower).map(|found| found.value);
            let host = fields.read(name, problems, source, disk)?;
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
        "stall_disk" => DiskAction::Stall(fields.read(name, problems, source, disk)?),
        "fsync_lie" => DiskAction::SyncLie(fields.read(name, problems, source, disk)?),
        "lost_rename" => DiskAction::LostRename(fields.read(name, problems, source, disk)?),
        "zero_tail" => DiskAction::ZeroTail(fields.read(name, problems, source, disk)?),
        "disk_full" => {
            let (given, after) = (fields.has("after"), fields.read("after", problems, source, units::size));
            let host = fields.read(name, problems, source, disk)?;
            if given && after.is_none() {
                return None;
            }
            DiskAction::Full(host, after.map_or(0, |after| after.value))
        }
        "bit_rot" => {
            let files = fields.read("files", problems, source, glob);
            let files = fields.require("files", files, problems);
            let share = share(fields, problems, source);
            let host = fields.read(name, problems, source, disk)?;
            DiskAction::BitRot { host, files: files?.value, share: share? }
        }
        _ => return None,
    })
}

/// As a scenario says it.
fn argument(which: Which) -> String {
    match which {
        Which::Share(ppm) => format!("share = \"{}\"", units::show_share(ppm)),
        Which::Nth(nth) => format!("nth = {nth}"),
    }
}

/// `share` or `nth`, not both.
fn which(
    name: &'static str,
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    source: &Source,
    default: Option<Which>,
) -> Option<Which> {
    let (has_share, has_nth) = (fields.has("share"), fields.has("nth"));
    let share = fields.read("share", problems, source, units::share);
    let nth = fields.integer("nth", 1..=1_000_000_000, problems);
    if let (Some(_), Some(nth)) = (&share, &nth) {
        problems
            .error(code::NOT_TOGETHER, nth.span.clone(), "`share` and `nth` in one fault")
            .label("either a share of them all, or one by its number");
        return None;
    }
    let share = share.map(|share| Which::Share(share.value));
    let nth = nth.and_then(|nth| u64::try_from(nth.value).ok()).map(Which::Nth);
    if !has_share && !has_nth && default.is_none() {
        let place = fields.get(name).map(|entry| entry.key_span.clone())?;
        problems
            .error(code::MISSING_KEY, place, format!("`{name}` of which operations?"))
            .label("say `share = \"1%\"` for so many of them, or `nth = 3` for the third from now on");
        return None;
    }
    share.or(nth).or(if has_share || has_nth { None } else { default })
}

/// A host, or its disk: `b2`, `b2:/data`. Each node has one, which is called `data`.
fn disk(text: &str) -> Result<NodeTerm, units::Refusal> {
    let Some((host, device)) = text.rsplit_once(":/") else { return term::node(text) };
    if device != crate::run::cluster::DEVICE {
        let at = text.len() - device.len() - 1..text.len();
        return Err(units::Refusal::new(code::BAD_TERM, at, format!("no node has a disk `/{device}`"))
            .label(format!("every node has one disk, `/{}`", crate::run::cluster::DEVICE)));
    }
    term::node(host)
}

fn glob(text: &str) -> Result<String, units::Refusal> {
    if text.is_empty() || text.starts_with('/') {
        return Err(units::Refusal::new(code::BAD_TERM, 0..text.len(), format!("`{text}` names no file"))
            .label("a pattern like `*.log`, or `orders-*/*.log` with the directory"));
    }
    Ok(text.to_owned())
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
