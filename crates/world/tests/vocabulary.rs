//! The table of faults in `docs/world.md` and the code say the same.
#![cfg(madsim)]

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::{Side, effect};
use world::{
    ClockFault, DiskFault, Drive, Fault, Glob, HostId, Link, Lose, NetworkFault, ProcessFault, ResetOf, VOCABULARY,
    Which,
};

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
    let words: BTreeSet<&str> =
        network().chain(process()).chain(disk()).chain(clock()).map(|fault| fault.word()).collect();
    let due: BTreeSet<&str> =
        VOCABULARY.iter().filter(|word| ["A", "B"].contains(&word.issue)).map(|word| word.word).collect();
    assert_eq!(words, due);
}

// A new variant must come into its family's list: the matches have no wildcard.

fn network() -> impl Iterator<Item = Fault> {
    let host = HostId(0);
    let link = Link::between(host, HostId(1));
    let faults = vec![
        NetworkFault::Cut(link.clone()),
        NetworkFault::Isolate(host),
        NetworkFault::SlowLink { link: link.clone(), latency: None, jitter: None, mbit_s: None },
        NetworkFault::Loss { link: link.clone(), share: 1 },
        NetworkFault::Flap { link: link.clone(), every: Duration::from_secs(1) },
        NetworkFault::DelayMessages { link: link.clone(), share: 1, by: Duration::from_secs(1) },
        NetworkFault::ResetConnections(ResetOf::Link(link)),
        NetworkFault::RefuseConnections(host),
        NetworkFault::Swizzle { hosts: vec![host], lasts: Duration::from_secs(1) },
        NetworkFault::Hang(host),
    ];
    faults.into_iter().map(|fault| match fault {
        NetworkFault::Cut(_) | NetworkFault::Isolate(_) | NetworkFault::SlowLink { .. } => fault.into(),
        NetworkFault::Loss { .. } | NetworkFault::Flap { .. } | NetworkFault::DelayMessages { .. } => fault.into(),
        NetworkFault::ResetConnections(_) | NetworkFault::RefuseConnections(_) => fault.into(),
        NetworkFault::Swizzle { .. } | NetworkFault::Hang(_) => fault.into(),
    })
}

fn clock() -> impl Iterator<Item = Fault> {
    let host = HostId(0);
    let faults = vec![
        ClockFault::Offset { host, by: 1 },
        ClockFault::Drift { host, ppm: 1 },
        ClockFault::Jump { host, by: 1 },
        ClockFault::Freeze(host),
    ];
    faults.into_iter().map(|fault| match fault {
        ClockFault::Offset { .. } | ClockFault::Drift { .. } => fault.into(),
        ClockFault::Jump { .. } | ClockFault::Freeze(_) => fault.into(),
    })
}

fn process() -> impl Iterator<Item = Fault> {
    let host = HostId(0);
    let faults = vec![
        ProcessFault::Kill(host),
        ProcessFault::Stop(host),
        ProcessFault::Pause(host),
        ProcessFault::PowerOff { hosts: vec![host], lose: Lose::Unsynced, torn_write: None },
        ProcessFault::Roll(vec![host]),
        ProcessFault::CrashAt { host, effect: effect!("quorum.persist"), side: Side::Before, nth: 1 },
        ProcessFault::Wipe(host),
        ProcessFault::Twin { of: host, on: HostId(1) },
    ];
    faults.into_iter().map(|fault| match fault {
        ProcessFault::Kill(_)
        | ProcessFault::Stop(_)
        | ProcessFault::Pause(_)
        | ProcessFault::PowerOff { .. }
        | ProcessFault::Roll(_)
        | ProcessFault::CrashAt { .. }
        | ProcessFault::Wipe(_)
        | ProcessFault::Twin { .. } => fault.into(),
    })
}

fn disk() -> impl Iterator<Item = Fault> {
    let disk = Drive::all_of(HostId(0));
    let (on, which) = (|| disk.clone(), Which::Nth(1));
    let faults = vec![
        DiskFault::Slow { disk: on(), read: None, write: None, fsync: None, x: 2 },
        DiskFault::Stall { disk: on() },
        DiskFault::ReadError { disk: on(), which },
        DiskFault::WriteError { disk: on(), which },
        DiskFault::SyncError { disk: on(), which },
        DiskFault::SyncLie { disk: on() },
        DiskFault::Full { disk: on(), after: 0 },
        DiskFault::ShortWrite { disk: on(), which },
        DiskFault::LostRename { disk: on() },
        DiskFault::BitRot { disk: on(), files: Glob::new("*"), share: 1 },
        DiskFault::MisdirectedWrite { disk: on(), which },
        DiskFault::ZeroTail { disk: on() },
    ];
    faults.into_iter().map(|fault| match fault {
        DiskFault::Slow { .. } | DiskFault::Stall { .. } | DiskFault::Full { .. } => fault.into(),
        DiskFault::ReadError { .. } | DiskFault::WriteError { .. } | DiskFault::SyncError { .. } => fault.into(),
        DiskFault::SyncLie { .. } | DiskFault::ShortWrite { .. } | DiskFault::LostRename { .. } => fault.into(),
        DiskFault::BitRot { .. } | DiskFault::MisdirectedWrite { .. } | DiskFault::ZeroTail { .. } => fault.into(),
    })
}
