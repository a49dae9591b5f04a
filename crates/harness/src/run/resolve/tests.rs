//! Whom terms mean, with what is known at that moment.

use std::collections::BTreeSet;

use protocol::{LeaderEpoch, NodeId};
use rand_chacha::rand_core::SeedableRng;

use super::super::budget::{Budget, Config};
use super::super::watch::PartitionState;
use super::*;
use crate::checker::Setup;

fn ids(nodes: &[i32]) -> Vec<NodeId> {
    nodes.iter().map(|id| NodeId(*id)).collect()
}

/// Five brokers; orders/0 is on b1 to b3, b2 leads it.
fn watch(isr: &[i32]) -> Watch {
    let budget = Budget::new(&Config { setup: Setup::default(), settle_ns: 1 });
    let mut watch = Watch::new(Vec::new(), budget, &[], None);
    let state = PartitionState {
        leader: NodeId(2),
        leader_epoch: LeaderEpoch(1),
        partition_epoch: 1,
        isr: ids(isr),
        replicas: ids(&[1, 2, 3]),
    };
    watch.partitions.insert(TopicPartition::new("orders", 0), state);
    watch
}

fn cluster(controllers: u32) -> Cluster {
    Cluster { brokers: 5, controllers, ..Cluster::default() }
}

/// Whom a hundred seeds mean.
fn meant(watch: &Watch, cluster: &Cluster, term: &NodeTerm) -> BTreeSet<Vec<String>> {
    let resolve = |seed| Resolver { cluster, watch, rng: ChaCha8Rng::seed_from_u64(seed) }.hosts(term);
    (0..100).map(resolve).collect()
}

fn only(hosts: &[&[&str]]) -> BTreeSet<Vec<String>> {
    hosts.iter().map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()).collect()
}

#[test]
fn a_follower_is_one_in_sync_if_there_is_one() {
    let term = NodeTerm::Follower("orders".to_owned(), 0);
    assert_eq!(meant(&watch(&[1, 2, 3]), &cluster(0), &term), only(&[&["b1"], &["b3"]]));
    assert_eq!(meant(&watch(&[2, 3]), &cluster(0), &term), only(&[&["b3"]]));
    assert_eq!(meant(&watch(&[2]), &cluster(0), &term), only(&[&["b1"], &["b3"]]));
}

#[test]
fn terms_of_what_is_not_there_mean_nobody() {
    let (watch, cluster) = (watch(&[2]), cluster(0));
    for term in
        [NodeTerm::Leader("orders".to_owned(), 7), NodeTerm::Follower("payments".to_owned(), 0), NodeTerm::Controller]
    {
        assert_eq!(meant(&watch, &cluster, &term), only(&[&[]]), "{term}");
    }
}

#[test]
fn the_leader_is_whoever_leads_now() {
    let mut watch = watch(&[1, 2, 3]);
    let term = NodeTerm::Leader("orders".to_owned(), 0);
    assert_eq!(meant(&watch, &cluster(0), &term), only(&[&["b2"]]));
    watch.partitions.values_mut().for_each(|state| state.leader = NodeId(3));
    assert_eq!(meant(&watch, &cluster(0), &term), only(&[&["b3"]]));
}

#[test]
fn a_minority_may_fail_and_a_majority_may_not() {
    let watch = watch(&[2]);
    let sizes = |controllers: u32, term: &NodeTerm| -> BTreeSet<usize> {
        meant(&watch, &cluster(controllers), term).iter().map(Vec::len).collect()
    };
    assert_eq!(sizes(0, &NodeTerm::Minority), BTreeSet::from([2]), "of five brokers that are voters too");
    assert_eq!(sizes(0, &NodeTerm::Majority), BTreeSet::from([3]));
    assert_eq!(sizes(3, &NodeTerm::Minority), BTreeSet::from([1]));
    assert_eq!(meant(&watch, &cluster(3), &NodeTerm::Minority), only(&[&["c1"], &["c2"], &["c3"]]));
    assert_eq!(meant(&watch, &cluster(1), &NodeTerm::Minority), only(&[&[]]), "of one voter none may");
}

#[test]
fn except_means_all_brokers_but_those() {
    let watch = watch(&[2]);
    let term = NodeTerm::Except(Box::new(NodeTerm::Leader("orders".to_owned(), 0)));
    assert_eq!(meant(&watch, &cluster(3), &term), only(&[&["b1", "b3", "b4", "b5"]]));
    let nobody = NodeTerm::Except(Box::new(NodeTerm::Controller));
    assert_eq!(meant(&watch, &cluster(3), &nobody), only(&[&["b1", "b2", "b3", "b4", "b5"]]));
}

#[test]
fn several_terms_mean_each_host_once_in_their_order() {
    let (watch, cluster) = (watch(&[2]), cluster(0));
    let mut resolver = Resolver { cluster: &cluster, watch: &watch, rng: ChaCha8Rng::seed_from_u64(1) };
    let terms = [
        NodeTerm::Host("b4".to_owned()),
        NodeTerm::Leader("orders".to_owned(), 0),
        NodeTerm::Host("b2".to_owned()),
        NodeTerm::Host("b1".to_owned()),
    ];
    assert_eq!(resolver.all(&terms), ["b4", "b2", "b1"]);
}
