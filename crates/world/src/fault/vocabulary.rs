//! The words of the table of faults in `docs/world.md`, in its order; a test holds the two together.

/// A row of the table of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// The word in a scenario.
    pub word: &'static str,
    /// The issue that brings it; `A` and `B` are here.
    pub issue: &'static str,
}

const fn word(word: &'static str, issue: &'static str) -> Word {
    Word { word, issue }
}

/// Every word of the table, in its order. Those of the issues `A` and `B` are the variants of [`super::Fault`].
pub const VOCABULARY: &[Word] = &[
    word("cut", "A"),
    word("isolate", "A"),
    word("slow_link", "A"),
    word("loss", "B"),
    word("flap", "B"),
    word("delay_messages", "B"),
    word("reset_connections", "B"),
    word("refuse_connections", "B"),
    word("swizzle", "B"),
    word("kill", "A"),
    word("stop", "A"),
    word("roll", "B"),
    word("pause", "A"),
    word("hang", "B"),
    word("slow_cpu", "F"),
    word("crash_at", "B"),
    word("power_off", "A"),
    word("wipe", "B"),
    word("twin", "B"),
    word("slow_disk", "A"),
    word("stall_disk", "B"),
    word("read_error", "B"),
    word("write_error", "B"),
    word("fsync_error", "B"),
    word("fsync_lie", "B"),
    word("disk_full", "B"),
    word("short_write", "B"),
    word("lost_rename", "B"),
    word("bit_rot", "B"),
    word("misdirected_write", "B"),
    word("zero_tail", "B"),
    word("clock_offset", "B"),
    word("clock_drift", "B"),
    word("clock_jump", "B"),
    word("clock_freeze", "B"),
    word("create_topic", "C"),
    word("delete_topic", "C"),
    word("recreate_topic", "C"),
    word("alter_config", "C"),
    word("elect_leaders", "C"),
    word("reassign", "later"),
    word("add_voter", "later"),
    word("remove_voter", "later"),
    word("unclean_election", "later"),
];
