//! The table of faults in `docs/world.md` and the code say the same.
#![cfg(madsim)]

use std::collections::BTreeSet;

use world::{Fault, HostId, Link, Lose, VOCABULARY};

const DOC: &str = include_str!("../../../docs/world.md");

/// The words of the table, with their issues.
fn table() -> Vec<(String, String)> {
    let rows = DOC.lines().skip_while(|line| !line.starts_with("| word |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let row = row.replace("\\|", "");
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let issue = cells.last().expect("a row has cells").to_string();
        cells[0].split(',').map(|word| (word.trim().trim_matches('`').to_owned(), issue.clone())).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_table_and_the_vocabulary_agree() {
    let code: Vec<(String, String)> =
        VOCABULARY.iter().map(|word| (word.word.to_owned(), word.issue.to_owned())).collect();
    assert_eq!(table(), code);
}

#[test]
fn every_word_of_this_issue_is_a_fault_and_every_fault_is_such_a_word() {
    let host = HostId(0);
    let link = Link::between(host, HostId(1));
    let faults = [
        Fault::Cut(link.clone()),
        Fault::Isolate(host),
        Fault::SlowLink { link, latency: None, jitter: None, mbit_s: None },
        Fault::Kill(host),
        Fault::Stop(host),
        Fault::Pause(host),
        Fault::PowerOff { hosts: vec![host], lose: Lose::Unsynced, torn_write: None },
        Fault::SlowDisk { host, device: None, read: None, write: None, fsync: None, x: 2 },
    ];
    // A new variant must come into the list above: this match has no wildcard.
    for fault in &faults {
        match fault {
            Fault::Cut(_) | Fault::Isolate(_) | Fault::SlowLink { .. } | Fault::Kill(_) => {}
            Fault::Stop(_) | Fault::Pause(_) | Fault::PowerOff { .. } | Fault::SlowDisk { .. } => {}
        }
    }
    let words: BTreeSet<&str> = faults.iter().map(Fault::word).collect();
    let due: BTreeSet<&str> = VOCABULARY.iter().filter(|word| word.issue == "A").map(|word| word.word).collect();
    assert_eq!(words, due);
}
