//! Names of files and directories, as Kafka has them.

use protocol::{Offset, TopicPartition, Uuid};

/// What a file of a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    Snapshot,
}

/// What a suffix behind the kind says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mark {
    None,
    Deleted,
    Cleaned,
    Swap,
}

/// The name of a segment's file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileName {
    pub base: Offset,
    pub kind: Kind,
    pub mark: Mark,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Log, ".log"),
    (Kind::Index, ".index"),
    (Kind::TimeIndex, ".timeindex"),
    (Kind::TxnIndex, ".txnindex"),
    (Kind::Snapshot, ".snapshot"),
];
/// What lies beside the log of a segment, and goes after it.
pub(crate) const BESIDE: [Kind; 4] = [Kind::Index, Kind::TimeIndex, Kind::TxnIndex, Kind::Snapshot];
const MARKS: [(Mark, &str); 3] = [(Mark::Deleted, ".deleted"), (Mark::Cleaned, ".cleaned"), (Mark::Swap, ".swap")];

impl FileName {
    pub(crate) const fn new(base: Offset, kind: Kind) -> Self {
        Self { base, kind, mark: Mark::None }
    }

    pub(crate) const fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    /// `None` for names that are none of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (name, mark) = MARKS
            .iter()
            .find_map(|(mark, suffix)| Some((name.strip_suffix(suffix)?, *mark)))
            .unwrap_or((name, Mark::None));
        let (digits, kind) = KINDS.iter().find_map(|(kind, suffix)| Some((name.strip_suffix(suffix)?, *kind)))?;
        let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let base = digits.parse().ok().filter(|_| plain)?;
        Some(Self { base: Offset(base), kind, mark })
    }

    /// The path in the directory `dir`.
    pub(crate) fn path(self, dir: &str) -> String {
        join(dir, &self.to_string())
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind).expect("all kinds are listed").1;
        let mark = MARKS.iter().find(|(mark, _)| *mark == self.mark).map_or("", |(_, suffix)| suffix);
        write!(f, "{:020}{kind}{mark}", self.base.0)
    }
}

/// `dir/name`; the root is the empty path.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// What a directory of a log directory is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirKind {
    /// A partition's log.
    Partition(TopicPartition),
    /// `….<uuid>-delete`: the log of a deleted topic.
    Delete,
    /// `….<uuid>-future`: a replica being moved between log directories.
    Future,
    /// `….<uuid>-stray`: a replica that the metadata does not assign here.
    Stray,
}

impl DirKind {
    /// What the directory `name` is; `None` if it is none of Kafka's. Topic and partition are split at the last `-`.
    pub fn parse(name: &str) -> Option<Self> {
        for (suffix, kind) in [("-delete", Self::Delete), ("-future", Self::Future), ("-stray", Self::Stray)] {
            let rest = name.strip_suffix(suffix).and_then(|rest| rest.rsplit_once('.'));
            if rest.is_some_and(|(_, hex)| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                return Some(kind);
            }
        }
        let (topic, partition) = name.rsplit_once('-')?;
        let digits = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
        let partition = partition.parse().ok().filter(|_| digits && !topic.is_empty())?;
        Some(Self::Partition(TopicPartition::new(topic, partition)))
    }
}

/// The directory of a partition.
pub fn partition_dir(partition: &TopicPartition) -> String {
    format!("{}-{}", partition.topic, partition.partition)
}

/// The name that the directory `dir` gets with `suffix` (`delete`, `stray`) and a random id; at most 255 bytes.
pub fn renamed_dir(dir: &str, id: Uuid, suffix: &str) -> String {
    let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let (topic, partition) = dir.rsplit_once('-').unwrap_or((dir, "0"));
    let tail = format!("-{partition}.{hex}-{suffix}");
    let mut cut = topic.len().min(255 - tail.len());
    while !topic.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{tail}", &topic[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_print_and_parse() {
        for name in
            ["00000000000000000319.log", "00000000000000009999.index.deleted", "00000000000000000001.timeindex.swap"]
        {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
        for name in
            ["319.log", "leader-epoch-checkpoint", "0000000000000000031x.log", "00000000000000000319.log.tmp", "x.log"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn directories_are_split_at_the_last_dash() {
        let partition = TopicPartition::new("a-b", 12);
        assert_eq!(DirKind::parse("a-b-12"), Some(DirKind::Partition(partition.clone())));
        assert_eq!(partition_dir(&partition), "a-b-12");
        let renamed = renamed_dir(&format!("{}-3", "t".repeat(249)), Uuid::METADATA_TOPIC, "delete");
        assert_eq!(renamed.len(), 255);
        assert_eq!(DirKind::parse(&renamed), Some(DirKind::Delete));
        assert_eq!(DirKind::parse("lost+found"), None);
        assert_eq!(DirKind::parse("-1"), None);
    }
}
