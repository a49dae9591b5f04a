//! The same names in TOML: `log.dirs = "data"`, `[log]` with `dirs = "data"`, or `"log.dirs" = "data"`, all alike.

use toml::de::{DeTable, DeValue};

use super::{Property, property};
use problem::Place;

use crate::problems::Problems;

/// Reads all properties. Lists become comma-separated, as Kafka writes them.
pub fn read(text: &str, source: usize, problems: &mut Problems) -> Vec<Property> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = Place::at(source, error.span().unwrap_or(0..0));
        problems.error(Some(place), format!("not TOML: {}", error.message()));
    }
    let mut list = Vec::new();
    flatten("", table.into_inner(), source, &mut list, problems);
    list.sort_by_key(|property: &Property| property.name_at.start());
    list
}

fn flatten(prefix: &str, table: DeTable<'_>, source: usize, list: &mut Vec<Property>, problems: &mut Problems) {
    for (key, value) in table {
        let key_at = key.span();
        let name =
            if prefix.is_empty() { key.into_inner().into_owned() } else { format!("{prefix}.{}", key.into_inner()) };
        let value_at = value.span();
        match value.into_inner() {
            DeValue::Table(table) => flatten(&name, table, source, list, problems),
            value => match text(value) {
                Some(value) => list.push(property(source, (name, key_at), (value, value_at))),
                None => {
                    let title = format!("`{name}` has a value that no property has");
                    let place = Place::at(source, value_at);
                    problems.error(Some(place), title).label("a string, a number, true or false, or a list of these");
                }
            },
        }
    }
}

fn text(value: DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        DeValue::Integer(number) => Some(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |it| it.to_string()),
        ),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(list) => {
            let parts: Option<Vec<String>> = list.into_iter().map(|item| text(item.into_inner())).collect();
            parts.map(|parts| parts.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_keys_tables_and_quoted_names_are_all_alike() {
        let text = "node.id = 1\n\"log.dirs\" = \"data\"\nlisteners = [\"A://:1\", \"B://:2\"]\nlog.segment.bytes = 1_048_576\n[auto.create.topics]\nenable = false\n";
        let mut problems = Problems::default();
        let list = read(text, 0, &mut problems);
        assert!(!problems.has_errors(), "{problems:?}");
        let pairs: Vec<(&str, &str)> = list.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("node.id", "1"),
                ("log.dirs", "data"),
                ("listeners", "A://:1,B://:2"),
                ("log.segment.bytes", "1048576"),
                ("auto.create.topics.enable", "false"),
            ]
        );
    }
}
