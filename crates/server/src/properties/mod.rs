//! Pairs of name and value with their places, read from a file.
//!
//! Two forms: [Java's properties](java), which is what Kafka reads, and [TOML](table) with the same names as dotted keys.

pub mod java;
pub mod table;

use std::ops::Range;

use problem::Place;

use crate::problems::Problems;

/// A property as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value as Kafka would read it: lists have commas.
    pub value: String,
    /// Where the name stands.
    pub name_at: Place,
    /// Where the value stands.
    pub value_at: Place,
}

/// Reads a file by the form that its name tells: `.toml` is TOML, everything else properties.
pub fn read(path: &str, text: &str, source: usize, problems: &mut Problems) -> Vec<Property> {
    let toml = path.rsplit_once('.').is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("toml"));
    if toml { table::read(text, source, problems) } else { java::read(text, source, problems) }
}

fn property(source: usize, name: (String, Range<usize>), value: (String, Range<usize>)) -> Property {
    Property { name: name.0, value: value.0, name_at: Place::at(source, name.1), value_at: Place::at(source, value.1) }
}
