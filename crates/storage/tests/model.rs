//! A log against a list of batches: appends, rolls, cuts, reads, new beginnings, restarts, full disks.

mod support;

use proptest::prelude::*;
use support::Random;
use support::model::Model;

fn run(seed: u64, steps: impl IntoIterator<Item = u64>) {
    let mut model = Model::new(&mut Random::new(seed));
    for step in steps {
        let mut random = Random::new(step);
        if random.chance(40) { model.close(&mut random) } else { model.act(&mut random) }
    }
    model.close(&mut Random::new(seed));
}

/// A new segment's file was being made when the append before it failed for lack of space: the file stayed, and the log did
/// not open any more.
#[test]
fn the_file_of_a_segment_that_was_never_begun_does_not_stay() {
    let steps = [
        11187094763395427360,
        10069869952811771284,
        7072906991798406480,
        11602329824620172338,
        7127181657740416787,
        16211683950565403419,
        7897860637162749888,
        691519555,
        268274533519682663,
        1372235347664561,
        378580631145001205,
        425244776181757044,
        378609173340296,
        5402412091238600940,
        4548020705778365011,
        307677990585190205,
        75767794888325644,
        6043665576030533444,
        15733952021279329353,
        29626762722,
        13503425367511484382,
        17663885091546557760,
        16707106581774353151,
        5330346774246704161,
        15968272788684469562,
        2224099854567443878,
        15494473285320928748,
        17602968068685511358,
        1286555477115660706,
        2321419124895330056,
        17873399713726266221,
        3871287971633871011,
        16463731623130780372,
        11402336296355326891,
        14791944144093542652,
    ];
    run(11106929223375461592, steps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_log_does_what_a_list_of_batches_would(seed in any::<u64>(), steps in prop::collection::vec(any::<u64>(), 1..150)) {
        run(seed, steps);
    }
}
