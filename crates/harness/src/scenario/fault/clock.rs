//! Faults of clocks.

use super::super::diagnostic::{Problems, Source};
use super::super::document::Fields;
use super::Target;

/// The words of this family that this version acts on.
pub(super) const WORDS: &[&str] = &[];

/// What happens to clocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClockAction {}

impl ClockAction {
    pub(super) const fn word(&self) -> &'static str {
        match *self {}
    }

    pub(super) fn target(&self) -> Target<'_> {
        match *self {}
    }

    pub(super) const fn has_length(&self) -> bool {
        match *self {}
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match *self {}
    }
}

pub(super) fn read(
    _name: &'static str,
    _fields: &mut Fields<'_>,
    _problems: &mut Problems,
    _source: &Source,
) -> Option<ClockAction> {
    None
}
