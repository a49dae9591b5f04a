//! Events of the trace in a few words, for two runs that parted.

use crate::inner::Kind;

/// By [`Kind`].
const EVENTS: [&str; 20] = [
    "",
    "a timer ends",
    "data arrives",
    "a blocked writer gets room",
    "the network card takes more",
    "data is sent again",
    "RST arrives",
    "SYN arrives",
    "the answer to a SYN arrives",
    "a connection is made",
    "a disk operation is done",
    "",
    "process starts",
    "process ends",
    "process is paused",
    "process goes on",
    "a fault begins",
    "a fault is healed",
    "power is lost",
    "disks are replaced",
];

/// By the code of a disk operation in the trace.
const OPERATIONS: [&str; 14] = [
    "",
    "open",
    "append",
    "write",
    "read",
    "sync",
    "set length",
    "length",
    "rename",
    "remove",
    "make directory",
    "remove directory",
    "list directory",
    "sync directory",
];

/// An event in a few words; empty for an observation, which has its own.
pub(crate) fn words(kind: u8, size: u64) -> String {
    let of = |list: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| list.get(index)).copied().unwrap_or("something unnamed")
    };
    let name = of(&EVENTS, u64::from(kind));
    match kind {
        _ if kind == Kind::Observed as u8 => String::new(),
        _ if kind == Kind::Deliver as u8 => format!("{name}, {size} bytes"),
        _ if kind == Kind::Syn as u8 => format!("{name} at port {size}"),
        _ if kind == Kind::Retransmit as u8 => format!("{name}, attempt {size}"),
        _ if kind == Kind::Disk as u8 => {
            format!("{name}: {}, {} bytes", of(&OPERATIONS, size >> 32), size & 0xffff_ffff)
        }
        _ if size == 0 => name.to_owned(),
        _ => format!("{name} ({size})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_kind_and_the_last_operation_have_their_words() {
        assert_eq!(words(Kind::PowerLoss as u8, 0), "power is lost");
        assert_eq!(words(Kind::Wiped as u8, 0), "disks are replaced");
        assert_eq!(words(Kind::Disk as u8, (13 << 32) | 7), "a disk operation is done: sync directory, 7 bytes");
        assert_eq!(words(Kind::Observed as u8, 3), "");
    }
}
