//! The table in `docs/world.md` and the tests say the same; how many behaviours agree.

use std::collections::BTreeSet;
use std::io::Write;

use crate::wire::{self, Need};

const DOC: &str = include_str!("../../../../docs/world.md");

/// The sources of this suite, by module.
const SUITE: &[(&str, &str)] = &[
    ("degraded", include_str!("degraded.rs")),
    ("faulty", include_str!("faulty.rs")),
    ("files", include_str!("files.rs")),
    ("processes", include_str!("processes.rs")),
    ("streams", include_str!("streams.rs")),
    ("time", include_str!("time.rs")),
];

/// The sources of the tests that run in the world only, by file.
const WORLD_ONLY: &[(&str, &str)] = &[
    ("basics", include_str!("../basics.rs")),
    ("clock_faults", include_str!("../clock_faults.rs")),
    ("determinism", include_str!("../determinism.rs")),
    ("disk_faults", include_str!("../disk_faults.rs")),
    ("network", include_str!("../network.rs")),
    ("network_faults", include_str!("../network_faults.rs")),
    ("power", include_str!("../power.rs")),
    ("processes", include_str!("../processes.rs")),
    ("tasks", include_str!("../tasks.rs")),
];

struct Row {
    behaviour: String,
    place: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let lines = DOC.lines().skip_while(|line| !line.starts_with("| behaviour |")).skip(2);
    let lines = lines.take_while(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    cells
        .filter(|cells: &Vec<String>| !cells[1..].iter().all(String::is_empty))
        .map(|cells: Vec<String>| {
            let [behaviour, _real, _simulated, _source, place, tests] =
                <[String; 6]>::try_from(cells).expect("a row has six cells");
            let tests = tests.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect();
            Row { behaviour, place, tests }
        })
        .collect()
}

/// The bodies of the suite: an `async fn` of one argument within one of the macros that make two tests of it.
fn bodies() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (module, source) in SUITE {
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("    async fn ")
                && let Some((name, argument)) = rest.split_once('(')
                && ["arm) {", "wire) {", "peer) {"].contains(&argument)
            {
                names.insert(format!("{module}::{name}"));
            }
        }
    }
    names
}

const PLACES: &[&str] = &[
    "both",
    "both, in namespaces",
    "both, where netem is",
    "both, with a process",
    "both, with a mount",
    "world only",
];

#[test]
fn every_behaviour_of_the_table_is_tested_and_every_test_of_both_arms_is_in_the_table() {
    let (rows, bodies) = (rows(), bodies());
    assert!(rows.len() > 60 && bodies.len() > 60, "{} rows, {} tests", rows.len(), bodies.len());
    let mut named = BTreeSet::new();
    for row in &rows {
        assert!(PLACES.contains(&&*row.place), "{}: `{}` is no place", row.behaviour, row.place);
        assert!(!row.tests.is_empty(), "{} has no test", row.behaviour);
        for test in &row.tests {
            let (module, name) = test.split_once("::").unwrap_or_else(|| panic!("{}: {test}", row.behaviour));
            if row.place == "world only" {
                let source = WORLD_ONLY.iter().find(|(file, _)| *file == module);
                let (_, source) = source.unwrap_or_else(|| panic!("{}: no file {module}", row.behaviour));
                assert!(source.contains(&format!("#[test]\nfn {name}(")), "{}: there is no {test}", row.behaviour);
            } else {
                assert!(bodies.contains(test), "{}: there is no {test}", row.behaviour);
                assert!(named.insert(test.clone()), "{test} stands in two rows");
            }
        }
    }
    let forgotten: Vec<&String> = bodies.difference(&named).collect();
    assert!(forgotten.is_empty(), "not in the table: {forgotten:?}");
}

#[test]
fn table_counts_agreement() {
    let rows = rows();
    let count = |place: &str| rows.iter().filter(|row| row.place == place).count();
    let missing = [
        ("both, in namespaces", wire::missing(Need::Cable)),
        ("both, where netem is", wire::missing(Need::Netem)),
        ("both, with a mount", crate::faulty::missing()),
    ];
    let both: usize = PLACES.iter().filter(|place| **place != "world only").map(|place| count(place)).sum();
    let skipped: usize = missing.iter().filter(|(_, why)| why.is_some()).map(|(place, _)| count(place)).sum();
    let mut out = std::io::stderr();
    // Past the capture of the test harness. The tests themselves fail where the arms differ; here is how many there are.
    let text = format!(
        "\nconformance: {} behaviours; {both} on both arms, {} compared here, {skipped} SKIPPED here; {} in the world only\n",
        rows.len(),
        both - skipped,
        count("world only")
    );
    drop(out.write_all(text.as_bytes()));
    for (place, why) in missing {
        if let Some(why) = why {
            drop(out.write_all(format!("  SKIPPED {} ({place}): {why}\n", count(place)).as_bytes()));
        }
    }
    assert!(both >= 60, "the specification asks for sixty behaviours");
    assert_eq!(both + count("world only"), rows.len());
}
