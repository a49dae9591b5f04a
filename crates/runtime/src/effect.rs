//! Where a process can end exactly between two effects of a machine: one table of names.
//!
//! A driver that carries out the effects of a machine says so before and after each ([`Env::before`](crate::Env::before),
//! [`Env::after`](crate::Env::after)), with the effect's [`EffectPoint`], made by [`effect!`](crate::effect) from a name
//! of [`EFFECTS`]. On the operating system that does nothing; a world may end the process there. A name without a row does
//! not compile; a row that no driver names fails the tidy test.

/// An effect of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EffectName {
    /// `machine.effect`, as in a scenario's `crash_at`.
    pub name: &'static str,
    /// What the effect does, in a few words.
    pub about: &'static str,
}

const fn effect(name: &'static str, about: &'static str) -> EffectName {
    EffectName { name, about }
}

/// Every effect that a driver carries out, by machine.
pub const EFFECTS: &[EffectName] = &[
    effect("quorum.persist", "the quorum-state file is written and synced"),
    effect("quorum.truncate", "the metadata log is cut"),
    effect("quorum.assign_epoch", "an epoch's start goes into the metadata log's epochs"),
    effect("quorum.append", "a leader's batches go to the metadata log"),
    effect("quorum.append_fetched", "batches from the leader go to the metadata log"),
    effect("quorum.flush", "a sync of the metadata log begins"),
    effect("quorum.send", "a request leaves for another voter"),
    effect("quorum.reply", "an answer leaves for another node"),
    effect("quorum.elected", "the controller is told that it is active"),
    effect("quorum.lost", "the controller is told that it is not active any more"),
    effect("quorum.proposed", "the controller is told the offset of what it wrote"),
    effect("quorum.refused", "the controller is told that what it wrote was not taken"),
    effect("quorum.committed", "the node is told what is committed"),
    effect("controller.append", "records of the controller go to the quorum"),
    effect("controller.reply", "an answer of the controller leaves, or waits for its records"),
    effect("partition.append", "batches go to a partition's log"),
    effect("partition.refuse", "a produce request is refused"),
    effect("partition.assign_epoch", "the leader's epoch goes into a partition's epochs"),
    effect("partition.truncate", "a follower's log is cut"),
    effect("partition.restart", "a follower's log is emptied"),
    effect("partition.raise_log_start", "a log's start moves"),
    effect("partition.alter_partition", "a leader asks for another ISR"),
    effect("partition.fire", "a request that waited is answered"),
    effect("partition.mistrust", "a follower gives a leader's answers up"),
    effect("fetcher.send", "a follower's Fetch leaves"),
    effect("fetcher.ask_range", "a follower asks where its leader's log begins and ends"),
];

/// A row of [`EFFECTS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EffectPoint(u16);

impl EffectPoint {
    /// The row of a name; for [`effect!`](crate::effect), which asks while compiling.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub const fn of(name: &str) -> Self {
        match Self::find(name) {
            Some(point) => point,
            None => panic!("no such effect: give it a row in `runtime::effect::EFFECTS`"),
        }
    }

    /// The row of a name, if there is one.
    #[must_use]
    pub const fn find(name: &str) -> Option<Self> {
        let mut row = 0;
        while row < EFFECTS.len() {
            if probe::same(EFFECTS[row].name, name) {
                return Some(Self(row as u16));
            }
            row += 1;
        }
        None
    }

    /// One of them, by a number below [`EFFECTS`]' length; larger ones begin anew.
    #[must_use]
    pub const fn of_row(row: u64) -> Self {
        Self((row % EFFECTS.len() as u64) as u16)
    }

    /// `machine.effect`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        EFFECTS[self.0 as usize].name
    }
}

/// On which side of an effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// It was ordered, and is not carried out.
    Before,
    /// It is carried out (if it is awaited: it is done), and the next one is not.
    After,
}

/// The [`EffectPoint`](crate::EffectPoint) of a name: `effect!("quorum.persist")`. Unknown names do not compile.
#[macro_export]
macro_rules! effect {
    ($name:literal) => {{
        const POINT: $crate::EffectPoint = $crate::EffectPoint::of($name);
        POINT
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_names_its_machine_and_has_one_row() {
        for (row, effect) in EFFECTS.iter().enumerate() {
            assert_eq!(EffectPoint::of(effect.name), EffectPoint(row as u16), "{} has two rows", effect.name);
            assert_eq!(effect.name.matches('.').count(), 1, "{}", effect.name);
        }
        assert_eq!(EffectPoint::find("quorum.sleep"), None);
        assert_eq!(effect!("fetcher.send").name(), "fetcher.send");
    }
}
