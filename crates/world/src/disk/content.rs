//! Bytes of a file: shared pieces at their places, holes between them.

use bytes::Bytes;
use protocol::Chunks;

static ZEROS: [u8; 4096] = [0; 4096];

/// Pieces of a file, by position. What is not covered reads as zeros.
/// Invariant: sorted, not overlapping, no piece empty.
#[derive(Default, Clone)]
pub(crate) struct Extents(Vec<Extent>);

#[derive(Clone)]
struct Extent {
    at: u64,
    bytes: Bytes,
}

impl Extent {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn slice(&self, from: u64, to: u64) -> Self {
        Self { at: from, bytes: self.bytes.slice((from - self.at) as usize..(to - self.at) as usize) }
    }
}

impl Extents {
    /// Puts `bytes` at `at`, over what is there. Writing what takes the place of whole pieces moves none of the others, so
    /// that a log that is written again, piece by piece, costs no more than its first writing did.
    pub fn write(&mut self, at: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len() as u64;
        let new = Extent { at, bytes };
        if self.0.last().is_none_or(|last| last.end() <= at) {
            self.0.push(new);
            return;
        }
        let first = self.0.partition_point(|extent| extent.end() <= at);
        let count = self.0[first..].iter().take_while(|extent| extent.at < end).count();
        let under = &self.0[first..first + count];
        let before = under.first().filter(|extent| extent.at < at).map(|extent| extent.slice(extent.at, at));
        let after = under.last().filter(|extent| extent.end() > end).map(|extent| extent.slice(end, extent.end()));
        if count == 1 && before.is_none() && after.is_none() {
            self.0[first] = new;
            return;
        }
        self.0.splice(first..first + count, before.into_iter().chain([new]).chain(after));
        self.fit();
    }

    /// Takes out what lies in `from..to`.
    pub fn cut(&mut self, from: u64, to: u64) -> Self {
        let first = self.0.partition_point(|extent| extent.end() <= from);
        let last = self.0.partition_point(|extent| extent.at < to).max(first);
        if first == last {
            return Self::default();
        }
        let (mut taken, mut kept) = (Vec::with_capacity(last - first), Vec::new());
        for extent in &self.0[first..last] {
            if extent.at < from {
                kept.push(extent.slice(extent.at, from));
            }
            taken.push(extent.slice(extent.at.max(from), extent.end().min(to)));
            if extent.end() > to {
                kept.push(extent.slice(to, extent.end()));
            }
        }
        self.0.splice(first..last, kept);
        self.fit();
        Self(taken)
    }

    fn fit(&mut self) {
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }

    /// The pieces that lie in `from..to`, at least in part.
    fn within(&self, from: u64, to: u64) -> &[Extent] {
        let first = self.0.partition_point(|extent| extent.end() <= from);
        let behind = self.0[first..].partition_point(|extent| extent.at < to);
        &self.0[first..first + behind]
    }

    /// What lies in `from..to`, shared, holes left out.
    pub fn copy(&self, from: u64, to: u64) -> Self {
        let inside = self.within(from, to).iter();
        Self(inside.map(|extent| extent.slice(extent.at.max(from), extent.end().min(to))).collect())
    }

    /// The bytes `from..to`, holes as zeros.
    pub fn read(&self, from: u64, to: u64) -> Chunks {
        let inside = self.within(from, to);
        let mut out = Chunks::new();
        out.reserve(inside.len());
        let mut at = from;
        for extent in inside {
            let (start, end) = (extent.at.max(from), extent.end().min(to));
            zeros(&mut out, start - at);
            out.push(extent.slice(start, end).bytes);
            at = end;
        }
        zeros(&mut out, to - at);
        out
    }

    /// Puts all pieces of `other` over what is there.
    pub fn overlay(&mut self, other: Self) {
        for extent in other.0 {
            self.write(extent.at, extent.bytes);
        }
    }

    #[cfg(test)]
    pub fn pieces(&self) -> usize {
        self.0.len()
    }
}

fn zeros(out: &mut Chunks, mut len: u64) {
    while len > 0 {
        let piece = len.min(ZEROS.len() as u64);
        out.push(Bytes::from_static(&ZEROS[..piece as usize]));
        len -= piece;
    }
}

/// Positions of a file. Invariant: sorted, apart from each other, none empty.
#[derive(Default, Clone)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `from..to`; calls `fresh` with the parts that were not in it.
    pub fn add(&mut self, from: u64, to: u64, mut fresh: impl FnMut(u64, u64)) {
        if from >= to {
            return;
        }
        // The usual case: at the end.
        match self.0.last_mut() {
            None => {
                fresh(from, to);
                self.0.push((from, to));
                return;
            }
            Some(last) if from > last.1 => {
                fresh(from, to);
                self.0.push((from, to));
                return;
            }
            Some(last) if from == last.1 => {
                fresh(from, to);
                last.1 = to;
                return;
            }
            Some(_) => {}
        }
        let first = self.0.partition_point(|range| range.1 < from);
        let last = self.0.partition_point(|range| range.0 <= to).max(first);
        let (mut start, mut end, mut at) = (from, to, from);
        for &(range_from, range_to) in &self.0[first..last] {
            if at < range_from {
                fresh(at, range_from.min(to));
            }
            at = at.max(range_to);
            start = start.min(range_from);
            end = end.max(range_to);
        }
        if at < to {
            fresh(at, to);
        }
        self.0.splice(first..last, [(start, end)]);
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out what lies in `from..to`, and returns it.
    pub fn take(&mut self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let (mut taken, mut kept) = (Vec::new(), Vec::with_capacity(self.0.len()));
        for (start, end) in self.0.drain(..) {
            let (inner_start, inner_end) = (start.max(from), end.min(to));
            if inner_start >= inner_end {
                kept.push((start, end));
                continue;
            }
            if start < inner_start {
                kept.push((start, inner_start));
            }
            taken.push((inner_start, inner_end));
            if inner_end < end {
                kept.push((inner_end, end));
            }
        }
        self.0 = kept;
        taken
    }

    /// Whether any of `from..to` is in it.
    pub fn touches(&self, from: u64, to: u64) -> bool {
        self.0.iter().any(|(start, end)| (*start).max(from) < (*end).min(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_read_like_an_array(ops in prop::collection::vec((0_u64..200, 1_usize..50, any::<bool>()), 1..40)) {
            let mut extents = Extents::default();
            let mut array = vec![0_u8; 300];
            for (index, (at, len, cuts)) in ops.into_iter().enumerate() {
                let end = at as usize + len;
                let before = extents.read(at, end as u64).to_vec();
                prop_assert_eq!(&before[..], &array[at as usize..end]);
                if cuts {
                    let taken = extents.cut(at, end as u64);
                    prop_assert_eq!(taken.read(at, end as u64).to_vec(), before);
                    array[at as usize..end].fill(0);
                } else {
                    extents.write(at, Bytes::from(vec![index as u8 + 1; len]));
                    array[at as usize..end].fill(index as u8 + 1);
                }
                prop_assert_eq!(extents.read(0, 300).to_vec(), array.clone());
            }
        }

        #[test]
        fn ranges_say_what_is_fresh(ops in prop::collection::vec((0_u64..100, 1_u64..30), 1..30)) {
            let mut ranges = Ranges::default();
            let mut array = [false; 130];
            for (from, len) in ops {
                let mut fresh = Vec::new();
                ranges.add(from, from + len, |from, to| fresh.extend(from..to));
                let expected: Vec<u64> = (from..from + len).filter(|at| !array[*at as usize]).collect();
                prop_assert_eq!(fresh, expected);
                array[from as usize..(from + len) as usize].fill(true);
                let all: Vec<u64> = ranges.iter().flat_map(|(from, to)| from..to).collect();
                prop_assert_eq!(all, (0..130).filter(|at| array[*at as usize]).collect::<Vec<u64>>());
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_out_of_ranges_is_in_them_no_more(
            ops in prop::collection::vec((0_u64..100, 1_u64..30, any::<bool>()), 1..30),
        ) {
            let mut ranges = Ranges::default();
            let mut array = [false; 130];
            for (from, len, takes) in ops {
                let of = from as usize..(from + len) as usize;
                prop_assert_eq!(ranges.touches(from, from + len), array[of.clone()].contains(&true));
                if takes {
                    let taken: Vec<u64> = ranges.take(from, from + len).iter().flat_map(|(from, to)| *from..*to).collect();
                    prop_assert_eq!(taken, (from..from + len).filter(|at| array[*at as usize]).collect::<Vec<u64>>());
                } else {
                    ranges.add(from, from + len, |_, _| {});
                }
                array[of].fill(!takes);
                let all: Vec<u64> = ranges.iter().flat_map(|(from, to)| from..to).collect();
                prop_assert_eq!(all, (0..130).filter(|at| array[*at as usize]).collect::<Vec<u64>>());
            }
        }
    }

    #[test]
    fn writing_over_whole_pieces_leaves_as_many() {
        let mut extents = Extents::default();
        for at in 0..100 {
            extents.write(at * 10, Bytes::from(vec![1; 10]));
        }
        for at in 0..100 {
            extents.write(at * 10, Bytes::from(vec![2; 10]));
            assert_eq!(extents.pieces(), 100);
        }
        extents.write(5, Bytes::from(vec![3; 10]));
        assert_eq!(extents.pieces(), 101);
        extents.write(20, Bytes::from(vec![4; 980]));
        assert_eq!(extents.pieces(), 4);
        let expected = [vec![2; 5], vec![3; 10], vec![2; 5], vec![4; 980]].concat();
        assert_eq!(extents.read(0, 1000).to_vec(), expected);
    }

    #[test]
    fn appending_copies_nothing() {
        let mut extents = Extents::default();
        let bytes = Bytes::from(vec![7; 1000]);
        extents.write(0, bytes.clone());
        extents.write(1000, bytes.clone());
        assert_eq!(extents.pieces(), 2);
        assert_eq!(extents.read(0, 1000).pop().expect("a piece").as_ptr(), bytes.as_ptr());
    }
}
