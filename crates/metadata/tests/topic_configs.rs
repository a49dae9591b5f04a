//! The table of topic configurations against Kafka's own.

use std::path::PathBuf;

use metadata::configs::{Kind, TOPIC_CONFIGS};

#[expect(clippy::disallowed_methods, reason = "tests find their inputs by the environment, and read files")]
fn table() -> String {
    let golden = match std::env::var("WAVETANK_GOLDEN") {
        Ok(path) => PathBuf::from(path),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    };
    let path = golden.join("tables/topic_configs.csv");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn names_types_defaults_and_broker_names_are_kafkas() {
    let text = table();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let column = |name: &str, headers: &csv::StringRecord| headers.iter().position(|it| it == name).expect("a column");
    let headers = reader.headers().expect("a header").clone();
    let [name, kind, default, internal, synonym] =
        ["name", "type", "default", "internal", "primary_broker_synonym"].map(|it| column(it, &headers));
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), TOPIC_CONFIGS.len());
    for (row, config) in rows.iter().zip(TOPIC_CONFIGS) {
        assert_eq!(&row[name], config.name);
        let expected = match config.kind {
            Kind::Boolean => "boolean",
            Kind::Int { .. } | Kind::GzipLevel => "int",
            Kind::Long { .. } => "long",
            Kind::Double { .. } => "double",
            Kind::Choice(_) => "string",
            Kind::Policies | Kind::Throttled => "list",
        };
        assert_eq!(&row[kind], expected, "{}", config.name);
        assert_eq!((&row[default] != "<null>").then_some(&row[default]), config.default, "{}", config.name);
        assert_eq!((!row[synonym].is_empty()).then_some(&row[synonym]), config.broker_name, "{}", config.name);
        assert_eq!(&row[internal] == "true", config.is_internal(), "{}", config.name);
    }
}
