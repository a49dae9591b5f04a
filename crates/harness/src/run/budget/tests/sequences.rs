//! The sequences that break simpler budgets.

use super::*;

#[test]
fn one_of_three_may_lose_its_data_and_all_three_at_once_may_not() {
    let mut told = Told::new(Keep::Committed);
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
    assert_eq!(told.ask(&power_off(&[2, 3])), Ok(()));
    assert!(refused_for_partition(&told.ask(&power_off(&[1, 2, 3]))));
}

#[test]
fn with_nothing_to_keep_everything_is_allowed() {
    let mut told = Told::new(Keep::Nothing);
    assert_eq!(told.ask(&power_off(&[1, 2, 3])), Ok(()));
    assert_eq!(told.ask(&harm(1, Harm::Wiped)), Ok(()));
}

#[test]
fn the_leader_of_followers_that_were_just_damaged_is_spared() {
    let mut told = Told::new(Keep::Committed);
    told.lose_power(2);
    told.lose_power(3);
    assert!(refused_for_partition(&told.ask(&power_off(&[1]))));
    // Not even a kill: it would be taken out of the ISR, and a damaged one be left last.
    assert!(refused_for_partition(&told.ask(&kill(&[1]))));
    // Once the controller has noticed, the leader is alone in its ISR: it may go, but not lose data.
    told.isr(1, 1, &[1]);
    assert_eq!(told.ask(&kill(&[1])), Ok(()));
    assert!(refused_for_partition(&told.ask(&power_off(&[1]))));
}

#[test]
fn a_damaged_replica_that_the_controller_still_lists_is_not_whole() {
    let mut told = Told::new(Keep::Committed);
    let key = told.lose_power(2);
    told.restart(2, key);
    // Another member's change is told with b2 still in the ISR.
    told.isr(1, 1, &[1, 2]);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    // It registers and is taken out; then it joins anew.
    told.isr(1, 1, &[1]);
    told.register(2);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    told.isr(1, 1, &[1, 2]);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)));
}

#[test]
fn an_expansion_under_way_at_the_time_of_the_damage_makes_nobody_whole() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 3]);
    told.expanding(1, 1, &[1, 3], &[1, 2, 3]);
    let key = told.lose_power(2);
    told.isr(1, 1, &[1, 2, 3]);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    // And it counts as a member already while it is on its way in.
    told.restart(2, key);
    told.now += SETTLE;
    assert!(refused_for_partition(&told.ask(&power_off(&[1, 3]))));
}

#[test]
fn who_joins_is_a_danger_as_soon_as_the_leader_asks_for_it() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1]);
    assert_eq!(told.ask(&power_off(&[2])), Ok(()), "b2 is out of the ISR");
    told.expanding(1, 1, &[1], &[1, 2]);
    told.begin(&kill(&[1]));
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b2 may be in it soon, and b1 is down");
}

#[test]
fn a_killed_member_is_no_anchor_before_it_has_been_well_for_a_while() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 2]);
    let key = told.begin(&kill(&[1]));
    told.ended(1, ProcessEnd::Killed);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may be fenced first");
    told.restart(1, key);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 has not registered");
    told.register(1);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may be taken out of the ISR any moment");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
}

#[test]
fn while_nobody_controls_nobody_becomes_steady() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[2, 3]);
    let key = told.begin(&kill(&[1, 2]));
    told.ended(1, ProcessEnd::Killed);
    told.budget.end(told.now, key, true);
    told.now += 2 * SETTLE;
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "nothing was committed meanwhile");
    told.controller(3, 2);
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
}

#[test]
fn a_leader_that_serves_nobody_leaves_no_follower_to_rely_on() {
    let mut told = Told::new(Keep::Committed);
    let hang = Impact { grey: BTreeSet::from([NodeId(1)]), ..pause(&[1]) };
    assert_eq!(told.ask(&hang), Ok(()));
    let key = told.begin(&hang);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may put b3 out of the ISR");
    told.budget.end(told.now, key, true);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "or have asked for it already");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
    told.lose_power(2);
    assert!(refused_for_partition(&told.ask(&hang)), "b2 is still in the ISR");
}

#[test]
fn a_controller_that_stood_still_may_fence_everybody_so_nobody_is_an_anchor() {
    let mut told = Told::new(Keep::Committed);
    told.isr(2, 2, &[2, 3]);
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
    let key = told.begin(&pause(&[1]));
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "b3 may be fenced last when b1 wakes");
    told.budget.end(told.now, key, true);
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "b1 wakes just now");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
    // And the other way round.
    told.lose_power(3);
    assert!(refused_for_partition(&told.ask(&pause(&[1]))));
    assert_eq!(told.ask(&kill(&[1])), Ok(()), "its successor begins all sessions anew");
}

#[test]
fn rot_stays_until_the_disk_is_wiped() {
    let mut told = Told::new(Keep::Committed);
    let key = told.begin(&harm(2, Harm::Rot));
    told.budget.end(told.now, key, true);
    told.ended(2, ProcessEnd::Killed);
    told.start(2);
    told.isr(1, 1, &[1, 3]);
    told.register(2);
    told.isr(1, 1, &[1, 2, 3]);
    told.quorum_appends(2, 10);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)) && told.budget.is_forgetful(NodeId(2)));
    let key = told.begin(&harm(2, Harm::Wiped));
    told.ended(2, ProcessEnd::PowerLost);
    told.isr(1, 1, &[1, 3]);
    told.restart(2, key);
    told.register(2);
    told.isr(1, 1, &[1, 2, 3]);
    told.quorum_appends(2, 10);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)) && !told.budget.is_forgetful(NodeId(2)));
}

#[test]
fn a_fault_without_effect_has_harmed_nothing() {
    let mut told = Told::new(Keep::Committed);
    let key = told.begin(&harm(2, Harm::DropsPages));
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    told.budget.end(told.now, key, false);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)));
}

#[test]
fn a_voter_is_wiped_only_while_all_others_have_what_it_acknowledged() {
    let mut told = Told::new(Keep::Committed);
    for node in 1..=3 {
        told.quorum_appends(node, 5);
    }
    told.isr(1, 1, &[1, 3]);
    assert_eq!(told.ask(&harm(2, Harm::Wiped)), Ok(()));
    told.quorum_appends(1, 6);
    told.quorum_appends(2, 6);
    assert!(matches!(told.ask(&harm(2, Harm::Wiped)), Err(Refusal::Quorum { .. })), "b3 lacks offset 5");
    told.quorum_appends(3, 6);
    assert_eq!(told.ask(&harm(2, Harm::Wiped)), Ok(()));
    let key = told.begin(&harm(2, Harm::Wiped));
    assert!(matches!(told.ask(&harm(3, Harm::Wiped)), Err(Refusal::Quorum { .. })), "one of three is a minority");
    told.ended(2, ProcessEnd::PowerLost);
    told.restart(2, key);
    told.quorum_appends(2, 5);
    assert!(told.budget.is_forgetful(NodeId(2)));
    told.quorum_appends(2, 6);
    assert!(!told.budget.is_forgetful(NodeId(2)));
}

#[test]
fn a_vote_is_not_forgotten_during_an_election() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 3]);
    let (role, epoch, leader) = (QuorumRole::Candidate, LeaderEpoch(2), NodeId::NONE);
    told.tell(3, Observation::QuorumState { role, epoch, leader, voted: NodeId(3) });
    assert!(matches!(told.ask(&harm(2, Harm::Wiped)), Err(Refusal::Quorum { .. })));
}

#[test]
fn a_power_loss_harms_a_voter_only_if_its_disk_has_lied() {
    let mut told = Told::new(Keep::Committed);
    told.lose_power(2);
    assert!(!told.budget.is_forgetful(NodeId(2)));
    told.begin(&harm(3, Harm::Lies));
    told.lose_power(3);
    assert!(told.budget.is_forgetful(NodeId(3)));
}

#[test]
fn service_keeps_enough_members_and_a_controller_majority_reachable() {
    let mut told = Told::new(Keep::Service);
    assert_eq!(told.ask(&kill(&[2])), Ok(()));
    assert_eq!(told.ask(&kill(&[2, 3])), Err(Refusal::NoMajority));
    told.isr(1, 1, &[1, 2]);
    assert!(matches!(told.ask(&kill(&[2])), Err(Refusal::Unavailable { .. })), "min.insync.replicas is 2");
    assert_eq!(told.ask(&kill(&[3])), Ok(()));
    let key = told.begin(&kill(&[3]));
    told.ended(3, ProcessEnd::Killed);
    told.restart(3, key);
    assert_eq!(told.ask(&kill(&[1])), Err(Refusal::NoMajority), "b3 is not back before it has registered");
    told.register(3);
    assert!(matches!(told.ask(&kill(&[1])), Err(Refusal::Unavailable { .. })), "but out of the ISR");
    told.isr(1, 1, &[1, 2, 3]);
    assert_eq!(told.ask(&kill(&[1])), Ok(()));
}
