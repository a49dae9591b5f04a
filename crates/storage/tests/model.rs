//! A log against a list of batches: appends, rolls, cuts, reads, new beginnings, restarts, full disks.

mod support;

use proptest::prelude::*;
use support::Random;
use support::model::Model;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_log_does_what_a_list_of_batches_would(seed in any::<u64>(), steps in prop::collection::vec(any::<u64>(), 1..150)) {
        let mut model = Model::new(&mut Random::new(seed));
        for step in steps {
            let mut random = Random::new(step);
            if random.chance(40) { model.close(&mut random) } else { model.act(&mut random) }
        }
        model.close(&mut Random::new(seed));
    }
}
