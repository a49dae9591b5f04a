//! The words that may strike at random, and the rule of each: whom, how long, how bad.
//!
//! Ranges are log-uniform: as often a short fault as a long one, as often a mild one as a bad one. They reach from below the
//! shortest time-out of `timers = "fast"` to well past the longest (a session is 1.5 s), so that both a fault that nobody
//! notices and one that everybody does are drawn.

use runtime::{EffectPoint, Side, effect::EFFECTS};
use world::{Lose, Which};

use crate::scenario::fault::{Action, ClockAction, DiskAction, NetworkAction, ProcessAction, Slower, Target};

use super::dice::Dice;
use super::targets::{Targets, placeless};

macro_rules! words {
    ($($name:ident = $word:literal;)*) => {
        /// A word that `menu` may have.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum ChaosWord {
            $(#[doc = concat!("`", $word, "`")] $name,)*
        }

        impl ChaosWord {
            /// All of them, in the order of the vocabulary.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in a scenario file.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

words! {
    Cut = "cut";
    Isolate = "isolate";
    SlowLink = "slow_link";
    Loss = "loss";
    Flap = "flap";
    DelayMessages = "delay_messages";
    ResetConnections = "reset_connections";
    RefuseConnections = "refuse_connections";
    Swizzle = "swizzle";
    Kill = "kill";
    Stop = "stop";
    Roll = "roll";
    Pause = "pause";
    Hang = "hang";
    CrashAt = "crash_at";
    PowerOff = "power_off";
    Wipe = "wipe";
    Twin = "twin";
    SlowDisk = "slow_disk";
    StallDisk = "stall_disk";
    ReadError = "read_error";
    WriteError = "write_error";
    FsyncError = "fsync_error";
    FsyncLie = "fsync_lie";
    DiskFull = "disk_full";
    ShortWrite = "short_write";
    LostRename = "lost_rename";
    BitRot = "bit_rot";
    MisdirectedWrite = "misdirected_write";
    ZeroTail = "zero_tail";
    ClockOffset = "clock_offset";
    ClockDrift = "clock_drift";
    ClockJump = "clock_jump";
    ClockFreeze = "clock_freeze";
}

/// What a drawn fault is, but for its time and its name.
pub(super) struct Hit {
    pub action: Action,
    pub lasts: Option<u64>,
    pub restart_after: Option<u64>,
}

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

impl ChaosWord {
    /// The word of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.word() == name)
    }

    /// The word of an action. No wildcard: a new action needs its rule here, or the reason why it strikes nobody by chance.
    pub(super) const fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Network(action) => match action {
                NetworkAction::Cut(_) => Self::Cut,
                NetworkAction::Isolate(_) => Self::Isolate,
                NetworkAction::SlowLink { .. } => Self::SlowLink,
                NetworkAction::Loss { .. } => Self::Loss,
                NetworkAction::Flap { .. } => Self::Flap,
                NetworkAction::DelayMessages { .. } => Self::DelayMessages,
                NetworkAction::ResetLink(_) | NetworkAction::ResetHosts(_) => Self::ResetConnections,
                NetworkAction::RefuseConnections(_) => Self::RefuseConnections,
                NetworkAction::Swizzle(_) => Self::Swizzle,
                NetworkAction::Hang(_) => Self::Hang,
            },
            Action::Process(action) => match action {
                ProcessAction::Kill(_) => Self::Kill,
                ProcessAction::Stop(_) => Self::Stop,
                ProcessAction::Pause(_) => Self::Pause,
                ProcessAction::PowerOff { .. } => Self::PowerOff,
                ProcessAction::Roll { .. } => Self::Roll,
                ProcessAction::CrashAt { .. } => Self::CrashAt,
                ProcessAction::Wipe(_) => Self::Wipe,
                ProcessAction::Twin(_) => Self::Twin,
            },
            Action::Disk(action) => match action {
                DiskAction::Slow { .. } => Self::SlowDisk,
                DiskAction::Stall(_) => Self::StallDisk,
                DiskAction::ReadError(..) => Self::ReadError,
                DiskAction::WriteError(..) => Self::WriteError,
                DiskAction::SyncError(..) => Self::FsyncError,
                DiskAction::SyncLie(_) => Self::FsyncLie,
                DiskAction::Full(..) => Self::DiskFull,
                DiskAction::ShortWrite(..) => Self::ShortWrite,
                DiskAction::LostRename(_) => Self::LostRename,
                DiskAction::BitRot { .. } => Self::BitRot,
                DiskAction::MisdirectedWrite(..) => Self::MisdirectedWrite,
                DiskAction::ZeroTail(_) => Self::ZeroTail,
            },
            Action::Clock(action) => match action {
                ClockAction::Offset { .. } => Self::ClockOffset,
                ClockAction::Drift { .. } => Self::ClockDrift,
                ClockAction::Jump { .. } => Self::ClockJump,
                ClockAction::Freeze(_) => Self::ClockFreeze,
            },
            // `heal_at_end` says when.
            Action::Heal(_) => return None,
        })
    }

    /// One fault of this word; `None` if there is nobody whom it could hit.
    pub(super) fn draw(self, targets: &Targets, dice: &mut Dice) -> Option<Hit> {
        Some(match self {
            Self::Cut => lasting(NetworkAction::Cut(placeless(targets.link(dice)?)), dice.log(100 * MS, 10 * S)),
            Self::Isolate => lasting(NetworkAction::Isolate(placeless(targets.one(dice))), dice.log(100 * MS, 10 * S)),
            Self::SlowLink => {
                let link = placeless(targets.link(dice)?);
                let latency = dice.log(5 * MS, 500 * MS);
                let jitter = dice.one_in(2).then(|| dice.log(MS, 200 * MS));
                let mbit_s = dice.one_in(3).then(|| dice.log(1, 100));
                let action = NetworkAction::SlowLink { link, latency: Some(latency), jitter, mbit_s };
                lasting(action, dice.log(500 * MS, 15 * S))
            }
            Self::Loss => {
                let (link, share) = (placeless(targets.link(dice)?), share(dice, 10, 3_000));
                lasting(NetworkAction::Loss { link, share }, dice.log(500 * MS, 15 * S))
            }
            Self::Flap => {
                let (link, every) = (placeless(targets.link(dice)?), dice.log(20 * MS, 3 * S));
                lasting(NetworkAction::Flap { link, every }, dice.log(500 * MS, 15 * S))
            }
            Self::DelayMessages => {
                let (link, share) = (placeless(targets.link(dice)?), share(dice, 1, 1_000));
                let by = dice.log(20 * MS, 5 * S);
                lasting(NetworkAction::DelayMessages { link, share, by }, dice.log(500 * MS, 15 * S))
            }
            Self::ResetConnections => {
                let link = targets.link(dice).filter(|_| dice.one_in(2));
                at_once(match link {
                    Some(link) => NetworkAction::ResetLink(placeless(link)),
                    None => NetworkAction::ResetHosts(targets.some(dice)),
                })
            }
            Self::RefuseConnections => {
                lasting(NetworkAction::RefuseConnections(targets.some(dice)), dice.log(100 * MS, 10 * S))
            }
            Self::Swizzle => lasting(NetworkAction::Swizzle(targets.several(dice)), dice.log(S, 15 * S)),
            Self::Hang => lasting(NetworkAction::Hang(targets.some(dice)), dice.log(100 * MS, 10 * S)),
            Self::ClockOffset => {
                let (hosts, by) = (targets.some(dice), either_way(dice, MS, 24 * 3_600 * S));
                lasting(ClockAction::Offset { hosts, by }, dice.log(500 * MS, 15 * S))
            }
            Self::ClockJump => {
                // Nobody sets it right again, and a broker whose clock is an hour behind refuses what its producers stamp
                // (`message.timestamp.after.max.ms`): a few such jumps must not come near that.
                let (hosts, by) = (targets.some(dice), either_way(dice, MS, 600 * S));
                at_once(ClockAction::Jump { hosts, by })
            }
            Self::ClockDrift => {
                // From a bad crystal to a virtual machine that gets four fifths of its time.
                let (hosts, ppm) = (targets.some(dice), either_way(dice, 10, 200_000));
                lasting(ClockAction::Drift { hosts, ppm }, dice.log(500 * MS, 15 * S))
            }
            Self::ClockFreeze => lasting(ClockAction::Freeze(targets.some(dice)), dice.log(500 * MS, 15 * S)),
            Self::Kill => returning(ProcessAction::Kill(targets.some(dice)), dice.log(100 * MS, 10 * S)),
            Self::Stop => returning(ProcessAction::Stop(targets.some(dice)), dice.log(100 * MS, 10 * S)),
            Self::Roll => {
                let (hosts, pause) = (targets.several(dice), dice.log(50 * MS, 3 * S));
                at_once(ProcessAction::Roll { hosts, pause })
            }
            Self::CrashAt => {
                let hosts = targets.some(dice);
                let effect = EffectPoint::of_row(dice.below(EFFECTS.len() as u64));
                let side = *dice.pick(&[Side::Before, Side::After]);
                let nth = u32::try_from(dice.log(1, 30)).unwrap_or(1);
                let action = Action::Process(ProcessAction::CrashAt { hosts, effect, side, nth });
                // An effect that does not come is not waited for any longer.
                let lasts = Some(dice.log(S, 10 * S));
                Hit { action, lasts, restart_after: Some(dice.log(100 * MS, 10 * S)) }
            }
            Self::Wipe => {
                let host = placeless(targets.one_without_a_vote(dice)?);
                returning(ProcessAction::Wipe(vec![host]), dice.log(100 * MS, 10 * S))
            }
            // Never of a voter, whatever need be kept: two of them would vote twice.
            Self::Twin if targets.brokers_vote() => return None,
            Self::Twin => {
                let host = placeless(targets.one_without_a_vote(dice)?);
                lasting(ProcessAction::Twin(vec![host]), dice.log(500 * MS, 10 * S))
            }
            Self::Pause => lasting(ProcessAction::Pause(targets.some(dice)), dice.log(50 * MS, 10 * S)),
            Self::PowerOff => {
                let hosts = targets.some(dice);
                let lose = *dice.pick(&[Lose::Unsynced, Lose::Unsynced, Lose::Mix, Lose::Mix, Lose::Nothing]);
                let torn_write = *dice.pick(&[None, Some(512), Some(4096)]);
                let torn_write = torn_write.filter(|_| lose != Lose::Nothing);
                returning(ProcessAction::PowerOff { hosts, lose, torn_write }, dice.log(100 * MS, 10 * S))
            }
            Self::SlowDisk => {
                let host = placeless(targets.one(dice));
                let slower = |dice: &mut Dice| Some(Slower::Takes(dice.log(2 * MS, 500 * MS)));
                let (read, write, fsync) = match dice.below(4) {
                    0 => (slower(dice), None, None),
                    1 => (None, slower(dice), None),
                    2 => (None, None, slower(dice)),
                    _ => (slower(dice), slower(dice), slower(dice)),
                };
                lasting(DiskAction::Slow { host, read, write, fsync }, dice.log(500 * MS, 15 * S))
            }
            Self::StallDisk => lasting(DiskAction::Stall(placeless(targets.one(dice))), dice.log(50 * MS, 10 * S)),
            Self::ReadError => {
                let action = DiskAction::ReadError(targets.storing(dice), Which::Share(share(dice, 500, 10_000)));
                stopping(action, dice, 15 * S)
            }
            Self::WriteError => {
                let action = DiskAction::WriteError(placeless(targets.one(dice)), Which::Nth(dice.log(1, 300)));
                stopping(action, dice, 5 * S)
            }
            Self::FsyncError => {
                let action = DiskAction::SyncError(placeless(targets.one(dice)), Which::Nth(dice.log(1, 50)));
                stopping(action, dice, 10 * S)
            }
            Self::FsyncLie => lasting(DiskAction::SyncLie(placeless(targets.one(dice))), dice.log(500 * MS, 15 * S)),
            Self::DiskFull => {
                let after = dice.log_binary(1 << 10, 1 << 20);
                lasting(DiskAction::Full(placeless(targets.one(dice)), after), dice.log(500 * MS, 10 * S))
            }
            Self::ShortWrite => {
                let action =
                    DiskAction::ShortWrite(placeless(targets.one(dice)), Which::Share(share(dice, 100, 10_000)));
                lasting(action, dice.log(500 * MS, 15 * S))
            }
            Self::LostRename => lasting(DiskAction::LostRename(targets.storing(dice)), dice.log(S, 20 * S)),
            Self::BitRot => {
                let files = *dice.pick(&["*.log", "*.log", "*.index", "*-checkpoint", "*"]);
                // Indexes and checkpoints have a sector or two.
                let share = if files == "*.log" { share(dice, 100, 2_000) } else { share(dice, 500, 5_000) };
                // A vote that rots may become another vote, which no rule of a quorum can live with: the file of a voter's
                // votes, the one whose name has no dot, is spared.
                let safe = if targets.brokers_vote() { None } else { targets.one_without_a_vote(dice) };
                let (host, files) = match safe {
                    Some(host) if files == "*" => (host, files),
                    _ if files == "*" => (targets.one(dice), "*.*"),
                    _ => (targets.one(dice), files),
                };
                let (host, files) = (placeless(host), files.to_owned());
                let restart_after = Some(dice.log(100 * MS, 10 * S));
                Hit { action: DiskAction::BitRot { host, files, share }.into(), lasts: None, restart_after }
            }
            Self::MisdirectedWrite => {
                let action =
                    DiskAction::MisdirectedWrite(placeless(targets.one(dice)), Which::Share(share(dice, 200, 3_000)));
                stopping(action, dice, 10 * S)
            }
            Self::ZeroTail => lasting(DiskAction::ZeroTail(targets.storing(dice)), dice.log(S, 20 * S)),
        })
    }
}

/// What follows a fault on the same hosts: another word, and how much later.
pub(super) type Follows = Vec<(ChaosWord, u64, Hit)>;

impl ChaosWord {
    /// Some faults only lie in wait: a tail or a name is lost when the power goes, and logs are read when a process opens
    /// them. Mostly the fault that they wait for follows, as another word, on the same hosts.
    pub(super) fn followed_by(self, hit: &Hit, dice: &mut Dice) -> Follows {
        let (Target::Hosts([host]), Some(lasts)) = (hit.action.target(), hit.lasts) else { return Vec::new() };
        let hosts = vec![host.clone()];
        let often = !dice.one_in(4);
        // Within its time, and early enough to leave some of it.
        let after = |dice: &mut Dice, from: u64| dice.log(from.min(lasts / 2), lasts / 2) / MS * MS;
        let power_off = |dice: &mut Dice| {
            let lose = *dice.pick(&[Lose::Unsynced, Lose::Mix]);
            let action = ProcessAction::PowerOff { hosts: hosts.clone(), lose, torn_write: None };
            returning(action, dice.log(100 * MS, 5 * S))
        };
        match self {
            Self::ReadError if often => {
                // It starts, and reads, while it cannot.
                let after = after(dice, 100 * MS);
                let back = dice.log(100 * MS, lasts - after) / MS * MS;
                vec![(Self::Kill, after, returning(ProcessAction::Kill(hosts), back))]
            }
            Self::ZeroTail if often => {
                let after = after(dice, 100 * MS);
                vec![(Self::PowerOff, after, power_off(dice))]
            }
            // A name is synced right after it is made: hardly any is in danger, but while syncs are slow.
            Self::LostRename if often => {
                let after = after(dice, 500 * MS);
                let fsync = Some(Slower::Takes(dice.log(300 * MS, 3 * S)));
                let slow = DiskAction::Slow { host: host.clone(), read: None, write: None, fsync };
                let (slow, off) = (lasting(slow, after + 100 * MS), power_off(dice));
                vec![(Self::SlowDisk, 0, slow), (Self::PowerOff, after, off)]
            }
            _ => Vec::new(),
        }
    }
}

/// A share in parts per million, from hundredths of a percent: finer ones cannot be written.
fn share(dice: &mut Dice, from: u64, to: u64) -> u32 {
    u32::try_from(dice.log(from, to) * 100).expect("at most a million")
}

/// So much, forward or back.
fn either_way(dice: &mut Dice, from: u64, to: u64) -> i64 {
    let (back, by) = (dice.one_in(2), dice.log(from, to).cast_signed());
    if back { -by } else { by }
}

/// A fault that is over as soon as it has happened.
fn at_once(action: impl Into<Action>) -> Hit {
    Hit { action: action.into(), lasts: None, restart_after: None }
}

/// A fault that ends after a time.
fn lasting(action: impl Into<Action>, lasts: u64) -> Hit {
    Hit { action: action.into(), lasts: Some(lasts), restart_after: None }
}

/// A fault of a disk that a process may stop at; then it is started again.
fn stopping(action: DiskAction, dice: &mut Dice, lasts_max: u64) -> Hit {
    let lasts = dice.log(500 * MS, lasts_max);
    Hit { action: action.into(), lasts: Some(lasts), restart_after: Some(lasts + dice.log(100 * MS, 5 * S)) }
}

/// A fault after which hosts are started again.
fn returning(action: ProcessAction, restart_after: u64) -> Hit {
    Hit { action: Action::Process(action), lasts: None, restart_after: Some(restart_after) }
}
