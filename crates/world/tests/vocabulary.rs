//! The table of faults in `docs/world.md` and the code say the same.
#![cfg(madsim)]

use std::collections::BTreeSet;

use world::{DiskFault, Drive, Fault, HostId, Link, Lose, NetworkFault, ProcessFault, VOCABULARY};

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

/// Words of this issue that are still to come.
const TO_COME: &[&str] = &[
    "loss",
    "flap",
    "delay_messages",
    "reset_connections",
    "refuse_connections",
    "swizzle",
    "roll",
    "hang",
    "crash_at",
    "wipe",
    "twin",
    "stall_disk",
    "read_error",
    "write_error",
    "fsync_error",
    "fsync_lie",
    "disk_full",
    "short_write",
    "lost_rename",
    "bit_rot",
    "misdirected_write",
    "zero_tail",
    "clock_offset",
    "clock_drift",
    "clock_jump",
    "clock_freeze",
];

#[test]
fn every_word_of_this_issue_is_a_fault_and_every_fault_is_such_a_word() {
    let words: BTreeSet<&str> = network().chain(process()).chain(disk()).map(|fault| fault.word()).collect();
    let due: BTreeSet<&str> = VOCABULARY
        .iter()
        .filter(|word| ["A", "B"].contains(&word.issue))
        .map(|word| word.word)
        .filter(|word| !TO_COME.contains(word))
        .collect();
    assert_eq!(words, due);
}

// A new variant must come into its family's list: the matches have no wildcard.

fn network() -> impl Iterator<Item = Fault> {
    let host = HostId(0);
    let link = Link::between(host, HostId(1));
    let faults = vec![
        NetworkFault::Cut(link.clone()),
        NetworkFault::Isolate(host),
        NetworkFault::SlowLink { link, latency: None, jitter: None, mbit_s: None },
    ];
    faults.into_iter().map(|fault| match fault {
        NetworkFault::Cut(_) | NetworkFault::Isolate(_) | NetworkFault::SlowLink { .. } => fault.into(),
    })
}

fn process() -> impl Iterator<Item = Fault> {
    let host = HostId(0);
    let faults = vec![
        ProcessFault::Kill(host),
        ProcessFault::Stop(host),
        ProcessFault::Pause(host),
        ProcessFault::PowerOff { hosts: vec![host], lose: Lose::Unsynced, torn_write: None },
    ];
    faults.into_iter().map(|fault| match fault {
        ProcessFault::Kill(_) | ProcessFault::Stop(_) | ProcessFault::Pause(_) | ProcessFault::PowerOff { .. } => {
            fault.into()
        }
    })
}

fn disk() -> impl Iterator<Item = Fault> {
    let disk = Drive::all_of(HostId(0));
    let faults = vec![DiskFault::Slow { disk, read: None, write: None, fsync: None, x: 2 }];
    faults.into_iter().map(|fault| match fault {
        DiskFault::Slow { .. } => fault.into(),
    })
}
