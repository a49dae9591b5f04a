//! Claims about brokers: registration, sessions, fencing, controlled shutdown.

use super::*;

#[test]
fn a_broker_epoch_is_the_offset_of_the_registration_record() {
    let mut cluster = Cluster::new(0);
    let epoch = cluster.try_register(1, 7).expect("registered");
    assert!(matches!(&cluster.log[epoch.0 as usize], Some(Record::RegisterBroker(record)) if record.broker_id == 1));
}

#[test]
fn another_incarnation_is_refused_until_the_session_has_ended_exactly() {
    let mut cluster = Cluster::new(1);
    cluster.advance(SESSION - Duration::from_nanos(1));
    assert_eq!(cluster.try_register(1, 99), Err(ErrorCode::DuplicateBrokerRegistration));
    cluster.advance(Duration::from_nanos(1));
    assert!(cluster.try_register(1, 99).is_ok());
}

#[test]
fn a_broker_that_never_sent_a_heartbeat_has_no_session() {
    let mut cluster = Cluster::new(0);
    cluster.try_register(1, 1).expect("registered");
    assert!(cluster.try_register(1, 2).is_ok());
}

#[test]
fn the_same_incarnation_keeps_its_epoch_and_stays_unfenced() {
    let mut cluster = Cluster::new(0);
    let epoch = cluster.try_register(1, 7).expect("registered");
    cluster.beat(1);
    assert_eq!(cluster.try_register(1, 7), Ok(epoch));
    assert!(!cluster.controller.state.brokers.get(&NodeId(1)).expect("registered").fenced);
}

#[test]
fn a_broker_is_unfenced_only_when_it_has_read_its_own_registration() {
    let mut cluster = Cluster::new(0);
    let epoch = cluster.try_register(1, 7).expect("registered");
    let early = cluster.beat_with(1, |request| request.current_metadata_offset = epoch.0 - 1);
    assert!(early.is_fenced && !early.is_caught_up);
    let waiting = cluster.beat_with(1, |request| request.want_fence = true);
    assert!(waiting.is_fenced && waiting.is_caught_up);
    assert!(!cluster.beat(1).is_fenced);
}

#[test]
fn registrations_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::new(1);
    let good = Cluster::registration(2, 1);
    for (code, change) in [
        (
            ErrorCode::InconsistentClusterId,
            (|it| it.cluster_id = Str::from("tank")) as fn(&mut BrokerRegistrationRequest),
        ),
        (ErrorCode::InvalidRegistration, |it| it.log_dirs.clear()),
        (ErrorCode::InvalidRegistration, |it| it.log_dirs.push(it.log_dirs[0])),
        (ErrorCode::InvalidRegistration, |it| it.log_dirs = vec![Uuid::from_halves(0, 99)]),
        (ErrorCode::InvalidRegistration, |it| it.log_dirs = vec![Uuid::from_halves(1, 1 << 20)]),
        (ErrorCode::InvalidRegistration, |it| it.features.clear()),
        (ErrorCode::UnsupportedVersion, |it| it.features[0].max_supported_version = 29),
    ] {
        let mut request = good.clone();
        change(&mut request);
        assert_eq!(ErrorCode::from_code(cluster.register(request).error_code), code);
    }
    assert_eq!(cluster.register(good).error_code, 0);
}

#[test]
fn a_heartbeat_of_another_registration_is_stale() {
    let mut cluster = Cluster::new(1);
    let stale = ErrorCode::StaleBrokerEpoch.code();
    assert_eq!(cluster.beat_with(1, |request| request.broker_epoch -= 1).error_code, stale);
    assert_eq!(cluster.beat_with(9, |_| ()).error_code, stale);
}

#[test]
fn a_silent_broker_is_fenced_at_the_exact_deadline_and_its_partitions_get_another_leader() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1, 2]);
    cluster.advance(Duration::from_secs(1));
    cluster.beat(2);
    let silent = cluster.controller.deadline().expect("a session runs");
    assert_eq!(silent, cluster.now + Duration::from_millis(500));
    cluster.now = silent - Duration::from_nanos(1);
    cluster.tick();
    assert_eq!(cluster.state(orders), (1, vec![1, 2]));
    cluster.now = silent;
    cluster.tick();
    assert_eq!(cluster.state(orders), (2, vec![2]));
    assert_eq!(cluster.partition(orders).leader_epoch, LeaderEpoch(1));
}

#[test]
fn a_lone_controller_does_not_wait_for_the_session_of_its_own_former_process() {
    let own = |incarnation| Some((NodeId(1), Uuid::from_halves(1, incarnation)));
    let mut cluster = Cluster::with(Config { lone_broker: own(1), ..config() });
    cluster.try_register(1, 1).expect("registered");
    assert!(!cluster.beat(1).is_fenced);
    // Elected again in the same process: its broker is alive.
    cluster.lose(0);
    cluster.elect();
    assert_eq!(cluster.try_register(1, 2), Err(ErrorCode::DuplicateBrokerRegistration));
    assert!(!cluster.beat(1).is_fenced);
    // The process was killed, and is here again.
    cluster.lose(0);
    cluster.controller.config.lone_broker = own(2);
    cluster.elect();
    cluster.try_register(1, 2).expect("nobody to wait for");
    assert!(!cluster.beat(1).is_fenced);
}

#[test]
fn of_two_brokers_that_die_together_neither_is_elected_for_the_other() {
    let mut cluster = Cluster::new(3);
    let orders = cluster.topic_on("orders", &[1, 2, 3]);
    let pairs = cluster.topic_on("pairs", &[1, 2]);
    cluster.advance(SESSION - Duration::from_millis(1));
    cluster.beat(3);
    cluster.advance(Duration::from_millis(1));
    cluster.tick();
    assert_eq!(cluster.state(orders), (3, vec![3]));
    assert_eq!(cluster.state(pairs), (-1, vec![2]));
}

#[test]
fn the_last_member_stays_in_the_isr_and_leads_again_when_it_returns() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1]);
    cluster.advance(SESSION);
    cluster.beat(2);
    cluster.tick();
    assert_eq!(cluster.state(orders), (-1, vec![1]));
    cluster.start(1);
    assert_eq!(cluster.state(orders), (1, vec![1]));
    assert_eq!(cluster.partition(orders).leader_epoch, LeaderEpoch(2));
}

#[test]
fn a_new_incarnation_leaves_every_isr_but_the_one_it_is_the_last_member_of() {
    let mut cluster = Cluster::new(2);
    let shared = cluster.topic_on("shared", &[1, 2]);
    let alone = cluster.topic_on("alone", &[1]);
    // Its session ends, but it is registered anew before anybody fences it.
    cluster.advance(SESSION);
    cluster.beat(2);
    let end = cluster.log.len() as i64;
    let epoch = cluster.try_register(1, 99).expect("registered");
    assert_eq!(epoch, BrokerEpoch(end), "the epoch is the next offset when handled");
    assert_eq!(cluster.state(shared), (2, vec![2]));
    assert_eq!(cluster.state(alone), (-1, vec![1]));
    assert!(matches!(cluster.log.last(), Some(Some(Record::RegisterBroker(_)))), "the clean-up comes first");
}

#[test]
fn a_controlled_shutdown_moves_leaders_waits_for_the_others_to_know_and_ends_the_session() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1, 2]);
    let answer = cluster.beat_with(1, |request| request.want_shut_down = true);
    assert!(!answer.should_shut_down && !answer.is_fenced);
    assert_eq!(cluster.state(orders), (2, vec![2]));
    // Broker 2 has not told that it knows.
    assert!(!cluster.beat_with(1, |request| request.want_shut_down = true).should_shut_down);
    cluster.beat(2);
    let answer = cluster.beat_with(1, |request| request.want_shut_down = true);
    assert!(answer.should_shut_down && answer.is_fenced);
    assert!(cluster.try_register(1, 99).is_ok(), "no session is left to wait out");
}

#[test]
fn a_broker_that_shuts_down_is_elected_by_nobody_but_keeps_a_partition_it_is_alone_in() {
    let mut cluster = Cluster::new(2);
    let alone = cluster.topic_on("alone", &[1]);
    cluster.beat_with(1, |request| request.want_shut_down = true);
    assert_eq!(cluster.state(alone), (-1, vec![1]));
    assert_eq!(cluster.create(assigned("more", &[(0, &[1])])), ErrorCode::InvalidReplicaAssignment);
}

#[test]
fn a_fenced_broker_that_wants_to_stop_may_at_once() {
    let mut cluster = Cluster::new(1);
    cluster.try_register(2, 5).expect("registered");
    let before = cluster.log.len();
    assert!(cluster.beat_with(2, |request| request.want_shut_down = true).should_shut_down);
    assert_eq!(cluster.log.len(), before, "nothing to write: it is fenced already");
}

#[test]
fn an_unfenced_broker_may_ask_to_be_fenced() {
    let mut cluster = Cluster::new(2);
    let orders = cluster.topic_on("orders", &[1, 2]);
    assert!(cluster.beat_with(1, |request| request.want_fence = true).is_fenced);
    assert_eq!(cluster.state(orders), (2, vec![2]));
    assert_eq!(cluster.try_register(1, 99), Err(ErrorCode::DuplicateBrokerRegistration), "its session goes on");
}
