//! Every branch worth reaching: one table, and the counters behind [`sometimes!`](crate::sometimes).
//!
//! [`Probe`] is a row of [`PROBES`]. A name that is not in the table does not compile; a row that no `sometimes!` names fails
//! the tidy test. A sweep that never reached one says so ([`never_reached`]): a green run proves nothing about code that it did
//! not take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A branch worth reaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The name in `sometimes!` and in a scenario's `reach`.
    pub name: &'static str,
    /// What happened when it is counted, in one sentence.
    pub about: &'static str,
}

const fn probe(name: &'static str, about: &'static str) -> Probe {
    Probe { name, about }
}

/// All of them, by part of the system.
pub const PROBES: &[Probe] = &[
    // The quorum.
    probe("quorum_leader", "a node won an election of the metadata quorum"),
    probe("quorum_candidate", "a voter began a new epoch with its own vote"),
    probe("quorum_pre_vote_refused", "a voter would not elect another one now (KIP-996)"),
    probe("quorum_pre_vote_lost", "a majority would not elect a voter, which went back to where it was"),
    probe("quorum_vote_refused", "a voter refused its vote to a candidate"),
    probe("quorum_split_vote", "a candidate's election time-out passed without a majority for anybody"),
    probe("quorum_epoch_fenced", "a request of the quorum named an epoch that is over"),
    probe("quorum_fetch_timeout", "a voter heard nothing from its leader for a fetch time-out"),
    probe("quorum_check_quorum", "a leader resigned because a majority had not fetched"),
    probe("quorum_resigned", "a leader gave its epoch up"),
    probe("quorum_successor", "a voter heard that its leader resigns, and who should follow"),
    probe("quorum_diverging_answered", "a leader told a follower where their logs part"),
    probe("quorum_truncated", "a follower cut the end of its metadata log, which its leader does not have"),
    probe("quorum_state_behind_log", "a node found epochs in its log that its quorum-state file does not know"),
    probe("quorum_disk_full", "a node of the quorum stood still until its disk had room again"),
    probe("quorum_disk_stalled", "a leader of the quorum resigned because its disk did not complete an append"),
    probe("quorum_stopped_full", "a process was asked to stop while the quorum waited for room, and stopped"),
    probe("quorum_candidate_again", "a node found its own vote at start and went on asking in that epoch"),
    // The controller.
    probe("broker_session_expired", "the controller fenced a broker whose session had ended"),
    probe("broker_duplicate_refused", "a second process asked to register a broker id whose session is valid"),
    probe("broker_registered_again", "a new incarnation of a broker that is known registered"),
    probe("broker_same_incarnation", "a broker registered once more, because an answer was lost"),
    probe("heartbeat_stale_epoch", "a heartbeat named a registration that has been replaced"),
    probe("controlled_shutdown", "a broker asked to be relieved of the partitions that it leads"),
    probe("alter_stale_broker_epoch", "a leader whose registration has been replaced asked for another ISR"),
    probe("alter_fenced_leader_epoch", "a leader that has been replaced asked for another ISR"),
    probe("alter_old_partition_epoch", "a leader asked for another ISR on the ground of an older one"),
    probe("alter_unknown_epoch", "a leader knew of an epoch that the controller which it asked does not"),
    probe(
        "alter_ineligible_replica",
        "a leader asked for an ISR with a replica that may not be in it (KIP-841, KIP-903)",
    ),
    probe("last_isr_member_kept", "the last member of an ISR was fenced, and stays in it"),
    probe("partition_leaderless", "nobody in the ISR of a partition could lead it"),
    probe("unclean_leader_elected", "a replica outside the ISR was elected"),
    // Replication.
    probe("fetch_fenced_leader_epoch", "a fetch named a leader epoch that is over"),
    probe("fetch_unknown_leader_epoch", "a fetch named a leader epoch that this broker has not heard of yet"),
    probe("fetch_stale_broker_epoch", "a follower fetched under a registration that has been replaced (KIP-903)"),
    probe("diverging_epoch_answered", "a leader told a follower where their logs part (KIP-595)"),
    probe("follower_diverged", "a follower heard that its log parts from its leader's"),
    probe("follower_truncated", "a follower cut its log"),
    probe("follower_restarted", "a follower dropped its whole log and began anew where its leader's begins"),
    probe("follower_high_watermark_fell", "a follower took a high watermark below its own from its leader"),
    probe("fetch_session_evicted", "a broker gave up a fetch session to make room for another"),
    probe("fetch_session_refused", "a broker had no room for a fetch session"),
    probe("fetch_session_not_found", "a fetch named a session that its broker does not have (any more)"),
    probe("fetch_session_epoch_refused", "a fetch was not the next of its session: an answer was lost"),
    probe("fetch_session_mistrusted", "a follower's leader answered for partitions that its session has not"),
    probe("full_fetch_after_error", "a follower began a fetch session anew because its leader refused the old one"),
    probe("isr_expansion_asked", "a leader asked for a follower that has caught up to come into the ISR"),
    probe("isr_shrink_asked", "a leader asked for followers that lag to leave the ISR"),
    probe("isr_changed", "a leader heard that the ISR which it asked for is committed"),
    probe("isr_change_refused", "a leader heard that the ISR which it asked for will not be"),
    probe("isr_change_superseded", "a leader asked for an ISR on the ground of what is no longer so"),
    probe("isr_change_unknown", "a leader did not learn what became of the ISR which it asked for"),
    probe("produce_repeats_in_flight", "a batch came again while the first one was on its way into the log"),
    probe("produce_repeats_committed", "a batch came again that was acknowledged already"),
    probe("produce_out_of_order", "a leader refused a batch that does not follow its producer's last one"),
    probe("produce_refused_below_min_isr", "a produce with acks=all was refused for want of replicas in sync"),
    probe("produce_too_few_after_append", "the ISR became too small after a produce was appended"),
    probe("produce_lost_leadership", "a leader was replaced while a produce waited for replication"),
    probe("produce_timed_out", "a produce was not replicated within its time"),
    probe("fetch_timed_out", "a fetch that waited was answered because its time was over"),
    // A broker's channels to the controller.
    probe("controller_unknown", "a broker had something to ask and knew no controller"),
    probe("controller_moved", "a broker asked a node that is not the active controller any more"),
    probe("controller_request_lost", "a broker's request to the controller had no answer"),
    probe("controller_given_up", "a broker gave a request to the controller up, its time being over"),
    probe("broker_superseded", "a broker read that another process has registered under its id, and gave up"),
    probe("broker_saw_itself_fenced", "a running broker heard that it is fenced"),
    // Storage.
    probe("log_rolled", "a log began a new segment"),
    probe("log_rolled_by_time", "a log began a new segment because of segment.ms"),
    probe("log_expired", "a log's start rose because of its retention"),
    probe("log_flushed_by_time", "a log was flushed because of flush.ms"),
    probe("log_trimmed", "a segment below a log's start was taken away"),
    probe("log_read_outrun_by_retention", "a segment was taken away while it was read"),
    probe("log_roll_waits_for_flush", "appends to a new segment waited for the old one to be durable"),
    probe("log_read_superseded", "a read was overtaken by a truncation"),
    probe("log_index_distrusted", "an index pointed to where no batch begins, and was not used any more"),
    probe("log_cut", "a log was cut at a batch"),
    probe("log_recovered_unclean", "a log was opened after an unclean stop, and its batches were checked"),
    probe("log_torn_tail_cut", "opening a log found bytes at its end that are no batch, and cut them"),
    probe("log_segments_dropped", "opening a log dropped segments behind a cut or a gap"),
    probe("log_index_rebuilt", "opening a log made an index anew"),
    probe("producers_rebuilt_after_cut", "batches of producers were cut off a log, and their states were made anew"),
    probe(
        "log_snapshot_dropped",
        "a snapshot of producers was damaged, or above what an unclean stop had left for sure",
    ),
    probe("log_epochs_rebuilt", "opening a log read its leader epochs from the batches"),
    probe("log_short_write", "the disk took a part of an append, and the rest was written after it"),
    probe("log_full", "an append failed for lack of space"),
    probe("log_open_full", "a log could not be opened for lack of space, and was tried again"),
    probe("log_begins_anew_full", "a log that began anew waited for room for its first file"),
    probe("log_flush_full", "a flush failed for lack of space"),
    probe("log_read_failed", "the disk could not read what a fetch asked for"),
    probe("log_broken", "the disk failed a log, which takes no more"),
    // Clients.
    probe("producer_retried", "a producer sent a batch again"),
    probe("producer_learned_leader", "a refused producer was told in the answer who leads, and went there at once"),
    probe("producer_gave_up", "a producer's time for a batch was over"),
    probe("consumer_out_of_range", "a consumer's place was not in its leader's log any more, or not yet"),
    probe("consumer_refused", "a consumer's fetch of a partition was refused, and it asked anew"),
];

static COUNTS: [AtomicU64; PROBES.len()] = [const { AtomicU64::new(0) }; PROBES.len()];

/// The row of a name; for [`sometimes!`](crate::sometimes), which asks while compiling.
///
/// # Panics
/// If there is none.
#[must_use]
pub const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < PROBES.len() {
        if same(PROBES[index].name, name) {
            return index;
        }
        index += 1;
    }
    panic!("no such probe: give it a row in `probe::PROBES`")
}

/// Whether two names are the same: for tables whose names are looked up while compiling.
#[must_use]
pub const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Counts a branch; use [`sometimes!`](crate::sometimes).
pub fn count(index: usize) {
    COUNTS[index].fetch_add(1, Relaxed);
}

/// How often the branch of this name was reached in this process; `None` if there is no such probe.
#[must_use]
pub fn times(name: &str) -> Option<u64> {
    let index = PROBES.iter().position(|probe| probe.name == name)?;
    Some(COUNTS[index].load(Relaxed))
}

/// Every branch reached in this process, with its count.
#[must_use]
pub fn reached() -> BTreeMap<&'static str, u64> {
    let counted = PROBES.iter().zip(&COUNTS).map(|(probe, count)| (probe.name, count.load(Relaxed)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Every branch not reached in this process, in the order of the table.
pub fn never_reached() -> impl Iterator<Item = &'static Probe> {
    PROBES.iter().zip(&COUNTS).filter(|(_, count)| count.load(Relaxed) == 0).map(|(probe, _)| probe)
}

/// Counts that this branch was reached: `sometimes!("isr_changed")`. The name is a row of
/// [`PROBES`](crate::PROBES), else it does not compile.
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {{
        const PROBE: usize = $crate::index_of($name);
        $crate::count(PROBE)
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_has_two_rows_and_every_row_is_one_sentence() {
        for (index, probe) in PROBES.iter().enumerate() {
            assert_eq!(index_of(probe.name), index, "{} has two rows", probe.name);
            let plain = probe.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(plain, "{} is no plain name", probe.name);
            assert!(!probe.about.is_empty() && !probe.about.ends_with('.'), "{}: {}", probe.name, probe.about);
        }
    }

    #[test]
    fn a_branch_counts_each_time_and_leaves_the_list_of_those_never_reached() {
        assert!(never_reached().any(|probe| probe.name == "log_full"));
        for _ in 0..3 {
            sometimes!("log_full");
        }
        assert_eq!((times("log_full"), reached().get("log_full")), (Some(3), Some(&3)));
        assert!(never_reached().all(|probe| probe.name != "log_full"));
        assert_eq!(times("no_such_probe"), None);
    }
}
