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

/// Three appends were submitted together when a flush failed for lack of space and took the last two with it: the write of
/// all three then looked like a disk's error.
#[test]
fn a_write_may_end_behind_the_appends_that_are_left_of_it() {
    let steps = [
        14274732530676361169,
        3123549384205998816,
        6151632355767469616,
        2224913719261971200,
        263080084229180560,
        4017252429428204603,
        7433232325984165114,
        9059132022322461666,
        9000263337165385217,
        8838606341469180694,
        12537183062688749907,
        11310604036961891191,
        11035186837814291581,
        6809507994858759577,
        12203725514990617041,
        5392047339921331738,
        42420895112878935,
        9582650188987,
        10764758244922410861,
        111846072546456480,
        17949801850901806541,
        3804518282372080,
        428349225326904863,
        14325757055290907738,
        10263945197759961972,
        15280888809053017891,
    ];
    run(2265232007450309925, steps);
}

/// The same flush failed while the write of an append waited for its segment to be made, which waited for a flush: the cut
/// that puts the log in order waited for the write, for ever.
#[test]
fn a_write_that_waits_for_its_segment_ends_with_its_append() {
    let steps = [
        4609556316485726621,
        14180765308226413721,
        16660506642895191811,
        12381553191236986246,
        10395711805467157336,
        14793646120974935646,
        8485571631203974726,
        10572840470514493717,
        16914558933300300661,
        78630658675700132,
        5924948645971635805,
        12271865968722750489,
        42664958281,
        350438478529001758,
        268651699254813910,
        8092795863932414304,
        5747524978629754480,
        784324505546888,
        1274918366234836958,
        1699368420527816,
        3475839845509332284,
        8192886950769094326,
        8377517552458514359,
        15365562143760623192,
        10567598907125036184,
    ];
    run(749051375078037642, steps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_log_does_what_a_list_of_batches_would(seed in any::<u64>(), steps in prop::collection::vec(any::<u64>(), 1..150)) {
        run(seed, steps);
    }
}
