//! Faults of processes and of whole machines.

use runtime::{EffectPoint, Side, effect::EFFECTS};
use world::Lose;

use super::super::diagnostic::{Problems, Source, Spanned, closest, code};
use super::super::document::{Fields, duration};
use super::super::term::NodeTerm;
use super::super::units::{self, show_duration, show_size};
use super::{Target, hosts};

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &["kill", "stop", "roll", "pause", "crash_at", "power_off", "wipe", "twin"];

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
        lose: Lose,
        /// The unit that a drive writes whole, in bytes: what is under way tears between two of them.
        torn_write: Option<u64>,
    },
    /// One after the other is stopped in good order, started again, and waited for until it serves.
    Roll {
        /// Which, in order.
        hosts: Vec<Spanned<NodeTerm>>,
        /// How long to wait before the next, ns.
        pause: u64,
    },
    /// Processes end between two effects of a machine, as if killed; called off if that has not happened in time (`for`).
    CrashAt {
        /// Which.
        hosts: Vec<Spanned<NodeTerm>>,
        /// At which effect.
        effect: EffectPoint,
        /// On which side of it.
        side: Side,
        /// The how-manieth from then on.
        nth: u32,
    },
    /// Processes are killed, and their hosts come back with empty disks.
    Wipe(Vec<Spanned<NodeTerm>>),
    /// A second process under the same id, on a host of its own with a copy of the disk.
    Twin(Vec<Spanned<NodeTerm>>),
}

/// The words of [`Side`].
const SIDES: &[(&str, Side)] = &[("before", Side::Before), ("after", Side::After)];

/// The words of [`Lose`].
const LOSE_WORDS: &[(&str, Lose)] = &[("unsynced", Lose::Unsynced), ("mix", Lose::Mix), ("nothing", Lose::Nothing)];

impl ProcessAction {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
            Self::Roll { .. } => "roll",
            Self::CrashAt { .. } => "crash_at",
            Self::Wipe(_) => "wipe",
            Self::Twin(_) => "twin",
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Self::Kill(hosts)
            | Self::Stop(hosts)
            | Self::Pause(hosts)
            | Self::Wipe(hosts)
            | Self::Twin(hosts)
            | Self::PowerOff { hosts, .. }
            | Self::Roll { hosts, .. }
            | Self::CrashAt { hosts, .. } => Target::Hosts(hosts),
        }
    }

    /// Whether its hosts stop serving: they may be started again with `restart_after`.
    pub(super) const fn downs(&self) -> bool {
        match self {
            Self::Kill(_) | Self::Stop(_) | Self::PowerOff { .. } | Self::CrashAt { .. } | Self::Wipe(_) => true,
            Self::Pause(_) | Self::Roll { .. } | Self::Twin(_) => false,
        }
    }

    pub(super) const fn has_length(&self) -> bool {
        match self {
            Self::Pause(_) | Self::Twin(_) | Self::CrashAt { .. } => true,
            Self::Kill(_) | Self::Stop(_) | Self::PowerOff { .. } | Self::Roll { .. } | Self::Wipe(_) => false,
        }
    }

    /// Whether it begins with nothing, and goes on by itself: hosts go down and come back when their time comes.
    pub const fn goes_on(&self) -> bool {
        matches!(self, Self::Roll { .. } | Self::CrashAt { .. })
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Kill(_) | Self::Stop(_) | Self::Pause(_) | Self::Wipe(_) | Self::Twin(_) => Vec::new(),
            Self::Roll { pause, .. } => vec![format!("pause = \"{}\"", show_duration(*pause))],
            Self::CrashAt { effect, side, nth, .. } => {
                let side = word_of(SIDES, side);
                vec![format!("effect = \"{}\"", effect.name()), format!("when = \"{side}\""), format!("nth = {nth}")]
            }
            Self::PowerOff { lose, torn_write, .. } => {
                let mut arguments = vec![format!("lose = \"{}\"", word_of(LOSE_WORDS, lose))];
                arguments.extend(torn_write.map(|bytes| format!("torn_write = \"{}\"", show_size(bytes))));
                arguments
            }
        }
    }
}

/// The word of a value in a table that has them all.
fn word_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).expect("every value has its word").0
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
                lose: lose.map_or(Lose::Unsynced, |lose| lose.value),
                torn_write: torn_write.map(|size| size.value),
            }
        }
        "roll" => {
            let pause = duration(fields, "pause", problems, source);
            let hosts = hosts(name, fields, problems, source)?;
            ProcessAction::Roll { hosts, pause: pause.map_or(0, |pause| pause.value) }
        }
        "crash_at" => {
            let effect = fields.read("effect", problems, source, effect_point);
            let side = fields.word("when", SIDES, &[], problems);
            let nth = fields.integer("nth", 1..=1_000_000, problems);
            let hosts = hosts(name, fields, problems, source)?;
            let effect = fields.require("effect", effect, problems)?;
            ProcessAction::CrashAt {
                hosts,
                effect: effect.value,
                side: side.map_or(Side::Before, |side| side.value),
                nth: nth.and_then(|nth| u32::try_from(nth.value).ok()).unwrap_or(1),
            }
        }
        "wipe" => ProcessAction::Wipe(hosts(name, fields, problems, source)?),
        "twin" => ProcessAction::Twin(hosts(name, fields, problems, source)?),
        _ => return None,
    })
}

/// `machine.effect`. An unknown one is told with those of its machine, or with the machines.
fn effect_point(text: &str) -> Result<EffectPoint, units::Refusal> {
    if let Some(point) = EffectPoint::find(text) {
        return Ok(point);
    }
    let names: Vec<&str> = EFFECTS.iter().map(|effect| effect.name).collect();
    let refusal = units::Refusal::new(code::UNKNOWN_WORD, 0..text.len(), format!("no machine has an effect `{text}`"));
    let mut refusal = match closest(text, &names) {
        Some(best) => refusal.label(format!("did you mean `{best}`?")),
        None => refusal.label("`machine.effect`, like `quorum.persist`"),
    };
    let mut machines: Vec<&str> = names.iter().filter_map(|name| name.split('.').next()).collect();
    machines.dedup();
    for machine in machines {
        let effects = names.iter().filter_map(|name| name.strip_prefix(machine)?.strip_prefix('.'));
        refusal.notes.push(format!("{machine}: {}", effects.collect::<Vec<_>>().join(", ")));
    }
    Err(refusal)
}
