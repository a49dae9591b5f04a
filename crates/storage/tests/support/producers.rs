//! What a log knows of its producers, found by looking through all its batches.

use std::collections::BTreeMap;

use super::oracle::Seen;

/// Of one producer: its epoch, and the last five batches of it.
pub type Known = (i16, Vec<Window>);

/// A batch: first and last sequence number, first and last offset.
type Window = (i32, i32, i64, i64);

/// All producers of these batches, by id.
pub fn fold(batches: &[Seen]) -> BTreeMap<i64, Known> {
    let mut all: BTreeMap<i64, Vec<(i16, Window)>> = BTreeMap::new();
    for batch in batches {
        let id = i64::from_be_bytes(batch.bytes[43..51].try_into().unwrap());
        let epoch = i16::from_be_bytes(batch.bytes[51..53].try_into().unwrap());
        let first = i32::from_be_bytes(batch.bytes[53..57].try_into().unwrap());
        if id >= 0 {
            let last = ((i64::from(first) + batch.last - batch.base) % (1 << 31)) as i32;
            all.entry(id).or_default().push((epoch, (first, last, batch.base, batch.last)));
        }
    }
    let known = |written: Vec<(i16, _)>| {
        let epoch = written.last().expect("nobody without a batch").0;
        let current = written.iter().rev().take_while(|(it, _)| *it == epoch).take(5).map(|(_, batch)| *batch);
        let mut window: Vec<_> = current.collect();
        window.reverse();
        (epoch, window)
    };
    all.into_iter().map(|(id, written)| (id, known(written))).collect()
}

/// The same, as a log tells it.
pub fn told(log: &storage::Log) -> BTreeMap<i64, Known> {
    let of = |state: &log::ProducerState| {
        let window = state.window().iter().map(|it| (it.first, it.last, it.base.0, it.end.0));
        (state.epoch, window.collect())
    };
    log.producers().iter().map(|(id, state)| (id, of(state))).collect()
}
