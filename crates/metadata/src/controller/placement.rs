//! Which brokers a new partition lives on: striped over racks, then over brokers (Kafka's `StripedReplicaPlacer`).
//!
//! Partition after partition the first replica moves on by one rack and, within a rack, by one broker, so that leaders
//! spread; the other replicas go round the racks and leave the first one's out once, so that no rack holds two replicas
//! while another holds none. Without racks that is a shifted round robin.

use std::collections::BTreeMap;

use protocol::{NodeId, Str};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// A broker that may hold replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Usable {
    pub(super) id: NodeId,
    pub(super) rack: Option<Str>,
    pub(super) fenced: bool,
}

/// Why no placement was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum PlacementProblem {
    #[error(
        "the target replication factor of {factor} cannot be reached because only {brokers} broker(s) are registered"
    )]
    TooFew { factor: usize, brokers: usize },
    #[error("all brokers are currently fenced")]
    AllFenced,
}

/// Places the replicas of `partitions` partitions, `factor` (at least 1) each; the first replica is an unfenced broker.
pub(super) fn place(
    brokers: impl IntoIterator<Item = Usable>,
    partitions: usize,
    factor: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Vec<NodeId>>, PlacementProblem> {
    let mut racks = Racks::new(brokers, rng);
    if factor > racks.brokers {
        return Err(PlacementProblem::TooFew { factor, brokers: racks.brokers });
    }
    if racks.unfenced == 0 {
        return Err(PlacementProblem::AllFenced);
    }
    Ok((0..partitions).map(|_| racks.next(factor, rng)).collect())
}

/// Brokers in turn, from an offset that moves on with every round.
#[derive(Default)]
struct Turn {
    brokers: Vec<NodeId>,
    offset: usize,
    taken: usize,
    round: usize,
}

impl Turn {
    /// The next broker of this round; `None` when all had their turn.
    fn next(&mut self, round: usize) -> Option<NodeId> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.taken = 0;
            self.offset = (self.offset + 1) % self.brokers.len();
        }
        if self.taken == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.offset + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }

    fn start(&mut self, rng: &mut ChaCha8Rng) {
        self.brokers.sort_unstable();
        if !self.brokers.is_empty() {
            self.offset = rng.random_range(0..self.brokers.len());
        }
    }
}

#[derive(Default)]
struct Rack {
    unfenced: Turn,
    fenced: Turn,
}

struct Racks {
    racks: Vec<Rack>,
    offset: usize,
    round: usize,
    brokers: usize,
    unfenced: usize,
}

impl Racks {
    fn new(brokers: impl IntoIterator<Item = Usable>, rng: &mut ChaCha8Rng) -> Self {
        let mut by_name: BTreeMap<Option<Str>, Rack> = BTreeMap::new();
        let (mut count, mut unfenced) = (0, 0);
        for broker in brokers {
            let rack = by_name.entry(broker.rack).or_default();
            count += 1;
            unfenced += usize::from(!broker.fenced);
            if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced }.brokers.push(broker.id);
        }
        let mut racks: Vec<Rack> = by_name.into_values().collect();
        for rack in &mut racks {
            rack.unfenced.start(rng);
            rack.fenced.start(rng);
        }
        let offset = if racks.is_empty() { 0 } else { rng.random_range(0..racks.len()) };
        Self { racks, offset, round: 0, brokers: count, unfenced }
    }

    /// One partition's replicas. There are at least `factor` brokers, one of them unfenced.
    fn next(&mut self, factor: usize, rng: &mut ChaCha8Rng) -> Vec<NodeId> {
        if self.round == self.unfenced && self.unfenced > 1 {
            // Every unfenced broker was first once: another order, so that the same sets do not come again.
            self.round = 0;
            self.racks.shuffle(rng);
            for rack in &mut self.racks {
                rack.unfenced.brokers.shuffle(rng);
                rack.fenced.brokers.shuffle(rng);
                rack.unfenced.round = usize::MAX;
                rack.fenced.round = usize::MAX;
            }
        }
        let count = self.racks.len();
        let start = self.offset % count;
        let (first_rack, first) = (0..count)
            .map(|step| (start + step) % count)
            .find_map(|index| Some((index, self.racks[index].unfenced.next(self.round)?)))
            .expect("one broker is unfenced");
        let mut replicas = Vec::with_capacity(factor);
        replicas.push(first);
        let mut skip = Some(first_rack);
        let mut index = start;
        while replicas.len() < factor {
            if skip == Some(index) {
                skip = None;
            } else {
                let rack = &mut self.racks[index];
                let next = rack.unfenced.next(self.round).or_else(|| rack.fenced.next(self.round));
                replicas.extend(next);
            }
            index = (index + 1) % count;
        }
        self.round += 1;
        self.offset = start + 1;
        replicas
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn broker(id: i32, rack: Option<&str>, fenced: bool) -> Usable {
        Usable { id: NodeId(id), rack: rack.map(Str::from), fenced }
    }

    #[test]
    fn without_racks_each_broker_leads_the_same_number_of_partitions_in_each_round() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let placed = place((1..=3).map(|id| broker(id, None, false)), 3, 2, &mut rng).expect("three brokers");
        let mut leaders: Vec<i32> = placed.iter().map(|replicas| replicas[0].0).collect();
        leaders.sort_unstable();
        assert_eq!(leaders, [1, 2, 3]);
        for replicas in &placed {
            assert_eq!(replicas[1].0, replicas[0].0 % 3 + 1, "a shifted round robin: {placed:?}");
        }
    }

    #[test]
    fn two_replicas_never_share_a_rack_while_another_rack_is_empty() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let brokers = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5)];
        let rack_of = |id: NodeId| brokers.iter().find(|(_, broker)| *broker == id.0).map(|(rack, _)| *rack);
        let placed = place(brokers.iter().map(|(rack, id)| broker(*id, Some(rack), false)), 40, 3, &mut rng);
        for replicas in placed.expect("five brokers") {
            let mut racks: Vec<_> = replicas.iter().map(|id| rack_of(*id)).collect();
            racks.sort_unstable();
            racks.dedup();
            assert_eq!(racks.len(), 3, "{replicas:?}");
        }
    }

    #[test]
    fn a_fenced_broker_is_used_when_no_other_is_left_but_never_first() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let brokers = [broker(1, None, false), broker(2, None, true), broker(3, None, false)];
        for replicas in place(brokers.clone(), 20, 3, &mut rng).expect("three brokers") {
            assert_eq!(replicas[2], NodeId(2));
        }
        assert_eq!(place(brokers, 1, 4, &mut rng), Err(PlacementProblem::TooFew { factor: 4, brokers: 3 }));
        assert_eq!(place([broker(2, None, true)], 1, 1, &mut rng), Err(PlacementProblem::AllFenced));
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_registered_and_led_by_an_unfenced_broker(
            shape in prop::collection::vec((0..4_u8, any::<bool>()), 1..9),
            partitions in 1..40_usize,
            factor in 1..9_usize,
            seed in any::<u64>(),
        ) {
            let brokers: Vec<Usable> = (shape.iter().enumerate())
                .map(|(id, (rack, fenced))| broker(id as i32, (*rack > 0).then_some(["a", "b", "c"][usize::from(rack.saturating_sub(1))]), *fenced))
                .collect();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            match place(brokers.clone(), partitions, factor, &mut rng) {
                Err(PlacementProblem::TooFew { .. }) => prop_assert!(factor > brokers.len()),
                Err(PlacementProblem::AllFenced) => prop_assert!(brokers.iter().all(|broker| broker.fenced)),
                Ok(placed) => {
                    prop_assert_eq!(placed.len(), partitions);
                    for replicas in placed {
                        let mut distinct = replicas.clone();
                        distinct.sort_unstable();
                        distinct.dedup();
                        prop_assert_eq!(distinct.len(), factor);
                        prop_assert!(!brokers[replicas[0].0 as usize].fenced);
                    }
                }
            }
        }
    }
}
