//! Reads the logs on a disk from the files' bytes. It shares no code with the broker: names, batches, indexes and the rules
//! of a valid prefix are written down here a second time.
//!
//! ```text
//!  0            8        12              16      17    21           23                  27    61
//!  | base offset | length | leader epoch | magic | crc | attributes | last offset delta | …   | records
//! ```

use std::collections::BTreeMap;

use protocol::{Chunks, LeaderEpoch, Offset, TopicPartition};

/// A batch on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskBatch {
    /// First offset.
    pub base: Offset,
    /// Last offset.
    pub last: Offset,
    /// Its leader epoch.
    pub epoch: LeaderEpoch,
    /// Its CRC, which its bytes have.
    pub crc: u32,
    /// The largest timestamp that it states.
    pub newest: i64,
    /// Bytes in all.
    pub size: usize,
}

/// One log on one disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaLog {
    /// Whose, by the directory's name.
    pub partition: TopicPartition,
    /// The directory.
    pub dir: String,
    /// The base offset of the first segment.
    pub first: Offset,
    /// The end of the longest valid prefix.
    pub end: Offset,
    /// The batches of that prefix.
    pub batches: Vec<DiskBatch>,
    /// The segments of that prefix: base offsets, and which of the batches is the first of each.
    pub segments: Vec<(Offset, usize)>,
    /// What comes behind it, if anything does.
    pub stray: Option<String>,
    /// Entries of finished segments' offset indexes that name no batch, and of their time indexes that name another than the
    /// first that is so new.
    pub wrong_index: Vec<String>,
}

/// The partition of the metadata log.
pub fn metadata() -> TopicPartition {
    TopicPartition::new("__cluster_metadata", 0)
}

impl ReplicaLog {
    /// The end of what lies before byte `position` of a file of this log. What another file than that of a segment holds,
    /// an index or the epochs, a broker makes anew from the batches.
    pub fn end_before(&self, path: &str, position: u64) -> Offset {
        let name = path.strip_prefix(self.dir.as_str()).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".log"));
        let Some(base) = name.and_then(|digits| digits.parse().ok()).map(Offset) else { return self.end };
        let Ok(number) = self.segments.binary_search_by_key(&base, |segment| segment.0) else {
            return self.end.min(base.max(self.first));
        };
        let first = self.segments[number].1;
        let last = self.segments.get(number + 1).map_or(self.batches.len(), |next| next.1);
        let (mut end, mut at) = (base, 0);
        for batch in &self.batches[first..last] {
            at += batch.size as u64;
            if at > position {
                return end;
            }
            end = Offset(batch.last.0 + 1);
        }
        self.end
    }
}

/// All logs among `files`, by path. Directories that wait for their deletion, or that are nobody's, are passed over.
pub fn logs(files: &BTreeMap<String, Chunks>) -> Vec<ReplicaLog> {
    let mut dirs: BTreeMap<&str, Vec<(i64, &Chunks)>> = BTreeMap::new();
    for (path, content) in files {
        if let Some((dir, name)) = path.rsplit_once('/')
            && let Some(base) = name.strip_suffix(".log").and_then(|digits| digits.parse().ok())
        {
            dirs.entry(dir).or_default().push((base, content));
        }
    }
    dirs.into_iter()
        .filter_map(|(dir, mut segments)| {
            segments.sort_by_key(|segment| segment.0);
            Some(log(partition_of(dir)?, dir, &segments, files))
        })
        .collect()
}

/// The partition whose directory a file lies in.
pub fn partition_of_file(path: &str) -> Option<TopicPartition> {
    partition_of(path.rsplit_once('/')?.0)
}

fn partition_of(dir: &str) -> Option<TopicPartition> {
    let name = dir.rsplit('/').next().expect("a split has a first part");
    let (topic, partition) = name.rsplit_once('-')?;
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

fn log(
    partition: TopicPartition,
    dir: &str,
    segments: &[(i64, &Chunks)],
    files: &BTreeMap<String, Chunks>,
) -> ReplicaLog {
    let first = Offset(segments[0].0);
    let mut log = ReplicaLog {
        partition,
        dir: dir.to_owned(),
        first,
        end: first,
        batches: Vec::new(),
        segments: Vec::new(),
        stray: None,
        wrong_index: Vec::new(),
    };
    for (number, (base, content)) in segments.iter().enumerate() {
        if *base != log.end.0 {
            log.stray = Some(format!("segment {base} where {} is due", log.end));
            break;
        }
        let before = log.batches.len();
        log.segments.push((Offset(*base), before));
        let read = segment(*base, content, &mut log);
        if number + 1 < segments.len()
            && let Some(index) = files.get(&format!("{dir}/{base:020}.index"))
        {
            index_entries(*base, &index.to_vec(), &log.batches[before..], &mut log.wrong_index);
        }
        if number + 1 < segments.len()
            && let Some(index) = files.get(&format!("{dir}/{base:020}.timeindex"))
        {
            time_entries(*base, &index.to_vec(), &log.batches[before..], &mut log.wrong_index);
        }
        if read < content.len() {
            log.stray = Some(format!("{} bytes at position {read} of segment {base}", content.len() - read));
            break;
        }
    }
    log
}

/// Takes batches as long as they are whole, have their CRC, and follow in offset and epoch. Returns how many bytes they have.
fn segment(first: i64, content: &Chunks, log: &mut ReplicaLog) -> usize {
    let mut rest = content.clone();
    let mut epoch = log.batches.last().map_or(LeaderEpoch::NONE, |last| last.epoch);
    while let Some(batch) = batch(&mut rest) {
        let beyond = batch.last.0 - first > i64::from(i32::MAX);
        if batch.base < log.end || batch.last < batch.base || batch.epoch < epoch || beyond {
            return content.len() - rest.len() - batch.size;
        }
        log.end = Offset(batch.last.0 + 1);
        epoch = batch.epoch;
        log.batches.push(batch);
    }
    content.len() - rest.len()
}

/// Takes the batch that `rest` begins with; leaves `rest` alone if that is none.
fn batch(rest: &mut Chunks) -> Option<DiskBatch> {
    let mut header = [0u8; 61];
    let mut filled = 0;
    for piece in rest.iter() {
        let n = piece.len().min(header.len() - filled);
        header[filled..filled + n].copy_from_slice(&piece[..n]);
        filled += n;
        if filled == header.len() {
            break;
        }
    }
    if filled < header.len() || header[16] != 2 {
        return None;
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let size = usize::try_from(number(8)).ok()?.checked_add(12).filter(|size| (61..=rest.len()).contains(size))?;
    let bytes = rest.slice(0, size);
    let (mut crc, mut skip) = (0, 21);
    for piece in bytes.iter() {
        let from = skip.min(piece.len());
        skip -= from;
        crc = crc32c::crc32c_append(crc, &piece[from..]);
    }
    let base = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
    let last = base.checked_add(number(23).into())?;
    if base < 0 || crc != number(17) as u32 {
        return None;
    }
    rest.advance(size);
    let newest = i64::from_be_bytes(header[35..43].try_into().expect("eight bytes"));
    Some(DiskBatch { base: Offset(base), last: Offset(last), epoch: LeaderEpoch(number(12)), crc, newest, size })
}

/// Every entry must name the first batch that is so new. (That the last one names the newest of all cannot be asked of a file that
/// may be in the writing.)
fn time_entries(base: i64, bytes: &[u8], batches: &[DiskBatch], wrong: &mut Vec<String>) {
    let mut last = -1;
    for (number, entry) in bytes.chunks(12).enumerate() {
        let Some((time, relative)) = entry.split_first_chunk::<8>() else {
            wrong.push(format!("segment {base}: {} bytes at the end of its time index", entry.len()));
            return;
        };
        let Ok(relative) = <[u8; 4]>::try_from(relative) else {
            wrong.push(format!("segment {base}: {} bytes at the end of its time index", entry.len()));
            return;
        };
        let (time, offset) = (i64::from_be_bytes(*time), base + i64::from(u32::from_be_bytes(relative)));
        let first = batches.iter().find(|batch| batch.newest >= time);
        if time <= last || first.is_none_or(|first| first.newest != time || first.last.0 != offset) {
            wrong.push(format!("segment {base}, time entry {number}: {time} at offset {offset}"));
        }
        last = time;
    }
}

/// What a checkpoint of offsets in the log directory says of one partition.
pub fn checkpointed(files: &BTreeMap<String, Chunks>, file: &str, partition: &TopicPartition) -> Option<Offset> {
    let text = String::from_utf8(files.get(file)?.to_vec()).ok()?;
    text.lines().skip(2).find_map(|line| {
        let mut words = line.split(' ');
        let same = words.next()? == &*partition.topic && words.next()?.parse() == Ok(partition.partition);
        words.next()?.parse().ok().filter(|_| same).map(Offset)
    })
}

/// Every entry must name the last offset and the position of one batch; zeros may follow.
fn index_entries(base: i64, bytes: &[u8], batches: &[DiskBatch], wrong: &mut Vec<String>) {
    let mut positions = BTreeMap::new();
    let mut at = 0;
    for batch in batches {
        positions.insert(batch.last.0, at);
        at += batch.size;
    }
    for (number, entry) in bytes.chunks(8).enumerate() {
        if entry.iter().all(|byte| *byte == 0) {
            break;
        }
        let half =
            |from: usize| entry.get(from..from + 4).map(|half| u32::from_be_bytes(half.try_into().expect("four")));
        let (Some(relative), Some(position)) = (half(0), half(4)) else {
            wrong.push(format!("segment {base}: {} bytes at the end of its index", entry.len()));
            break;
        };
        let offset = base + i64::from(relative);
        if positions.get(&offset) != Some(&(position as usize)) {
            wrong.push(format!("segment {base}, entry {number}: offset {offset} at position {position}"));
        }
    }
}

/// What differs between two logs before the last batch that both hold (log matching): equal offset and epoch mean equal bytes
/// there and before. Offsets that only one of them still or already has are not compared.
pub fn difference(a: &ReplicaLog, b: &ReplicaLog) -> Option<String> {
    let held: BTreeMap<(Offset, LeaderEpoch), &DiskBatch> =
        b.batches.iter().map(|batch| ((batch.base, batch.epoch), batch)).collect();
    let shared = a.batches.iter().rposition(|batch| held.contains_key(&(batch.base, batch.epoch)))?;
    let first = a.first.max(b.first);
    for batch in a.batches[..=shared].iter().filter(|batch| batch.base >= first) {
        match held.get(&(batch.base, batch.epoch)) {
            Some(other) if *other == batch => {}
            Some(other) => return Some(format!("{batch:?} against {other:?}")),
            None => return Some(format!("only one holds {batch:?}")),
        }
    }
    let end = a.batches[shared].base;
    let count = |log: &ReplicaLog| log.batches.iter().filter(|batch| batch.base >= first && batch.base <= end).count();
    let (here, there) = (count(a), count(b));
    (here != there).then(|| format!("{here} batches against {there} in offsets {first} to {end}"))
}
