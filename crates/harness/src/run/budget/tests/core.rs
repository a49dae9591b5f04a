//! Which core is drawn, over many draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

/// The cores that a hundred seeds draw, each once.
fn cores(told: &mut Told) -> BTreeSet<Vec<i32>> {
    let draw = |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        told.budget.draw_core(told.now, &mut rng).iter().map(|id| id.0).collect()
    };
    (0..100).map(draw).collect()
}

#[test]
fn any_two_of_three_that_are_well_are_a_core() {
    let cores = cores(&mut Told::new(Keep::Committed));
    assert_eq!(cores, BTreeSet::from([vec![1, 2], vec![1, 3], vec![2, 3]]));
}

#[test]
fn a_core_has_a_member_of_the_isr_whose_copy_is_whole() {
    let mut told = Told::new(Keep::Committed);
    let key = told.lose_power(3);
    told.restart(3, key);
    told.isr(2, 2, &[2, 3]);
    // b3 lacks something, b1 is out of the ISR: all depends on b2.
    for core in cores(&mut told) {
        assert!(core.contains(&2), "{core:?}");
        assert!(core.len() >= 2, "min.insync.replicas and a majority of voters want two: {core:?}");
    }
}

#[test]
fn a_core_does_without_a_rotten_node_if_it_can() {
    let mut told = Told::new(Keep::Committed);
    told.begin(&harm(3, Harm::Rot));
    assert_eq!(cores(&mut told), BTreeSet::from([vec![1, 2]]));
}

#[test]
fn a_core_that_needs_a_rotten_voter_has_all_voters_for_its_disk_must_be_replaced() {
    let mut told = Told::new(Keep::Committed);
    told.budget.partitions.get_mut(&tp()).unwrap().min_isr = 3;
    told.begin(&harm(3, Harm::Rot));
    assert_eq!(cores(&mut told), BTreeSet::from([vec![1, 2, 3]]));
    assert_eq!(told.budget.rotten(), ids(&[3]));
    assert!(told.budget.may_replace(told.now, NodeId(3)), "the others are well and remember everything");
    told.begin(&pause(&[1]));
    assert!(!told.budget.may_replace(told.now, NodeId(3)), "b1 stands still, and may have been leading the quorum");
}

#[test]
fn voters_that_forgot_are_no_majority_of_a_core() {
    let mut told = Told::new(Keep::Committed);
    told.quorum_appends(1, 9);
    (2..=3).for_each(|node| told.quorum_appends(node, 9));
    told.begin(&harm(2, Harm::Wiped));
    for core in cores(&mut told) {
        assert!(core.contains(&1) && core.contains(&3), "{core:?}");
    }
}

#[test]
fn with_nothing_to_keep_a_core_is_as_good_as_there_is() {
    let mut told = Told::new(Keep::Nothing);
    for node in 1..=3 {
        told.begin(&harm(node, Harm::Rot));
    }
    for core in cores(&mut told) {
        assert!(core.len() >= 2, "{core:?}");
    }
}
