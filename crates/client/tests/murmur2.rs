//! The partitioner's hash against Kafka's own values.

use std::path::PathBuf;

use client::{murmur2, partition_of_key};

#[expect(clippy::disallowed_methods, reason = "tests find their inputs by the environment")]
fn directory() -> PathBuf {
    match std::env::var("WAVETANK_GOLDEN") {
        Ok(path) => path.into(),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    }
}

#[test]
fn keys_hash_and_go_where_kafkas_clients_send_them() {
    let path = directory().join("tables/murmur2.csv");
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut done = 0;
    for row in reader.records() {
        let row = row.expect("a row");
        let key: Vec<u8> =
            (0..row[0].len() / 2).map(|at| u8::from_str_radix(&row[0][2 * at..2 * at + 2], 16).expect("hex")).collect();
        assert_eq!(murmur2(&key).to_string(), row[1], "{}", &row[0]);
        for (column, count) in [(2, 1), (3, 3), (4, 12), (5, 100)] {
            assert_eq!(partition_of_key(&key, count).to_string(), row[column], "{} of {count}", &row[0]);
        }
        done += 1;
    }
    assert!(done > 0, "no keys in {}", path.display());
}
