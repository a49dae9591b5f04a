//! Faults of processes and of whole machines.

use super::super::diagnostic::{Problems, Source, Spanned, code};
use super::super::document::Fields;
use super::super::term::NodeTerm;
use super::super::units;
use super::super::units::show_size;
use super::{Target, hosts};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &["kill", "stop", "pause", "power_off"];

/// What happens to processes and machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessAction {
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
const LOSE_WORDS: &[(&str, LoseData)] =
    &[("unsynced", LoseData::Unsynced), ("mix", LoseData::Mix), ("nothing", LoseData::Nothing)];

impl ProcessAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Kill(hosts) | Self::Stop(hosts) | Self::Pause(hosts) | Self::PowerOff { hosts, .. } => {
                Target::Hosts(hosts)
            }
        }
    }

    /// Whether its hosts stop serving: they may be started again with `restart_after`.
    pub(super) const fn downs(&self) -> bool {
        match self {
            Self::Kill(_) | Self::Stop(_) | Self::PowerOff { .. } => true,
            Self::Pause(_) => false,
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::Pause(_) => true,
            Self::Kill(_) | Self::Stop(_) | Self::PowerOff { .. } => false,
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Kill(_) | Self::Stop(_) | Self::Pause(_) => Vec::new(),
            Self::PowerOff { lose, torn_write, .. } => {
                let word = LOSE_WORDS.iter().find(|(_, known)| known == lose).map_or("unsynced", |(word, _)| word);
                let mut arguments = vec![format!("lose = \"{word}\"")];
                arguments.extend(torn_write.map(|bytes| format!("torn_write = \"{}\"", show_size(bytes))));
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
) -> Option<ProcessAction> {
    Some(match name {
        "kill" => ProcessAction::Kill(hosts(name, fields, problems, source)?),
        "stop" => ProcessAction::Stop(hosts(name, fields, problems, source)?),
        "pause" => ProcessAction::Pause(hosts(name, fields, problems, source)?),
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
            ProcessAction::PowerOff {
                hosts: hosts(name, fields, problems, source)?,
                lose: lose.map_or(LoseData::Unsynced, |lose| lose.value),
                torn_write: torn_write.map(|size| size.value),
            }
        }
        _ => return None,
    })
}
