//! What happens to processes: an end between two effects, an empty disk, a copy of a disk.
#![cfg(madsim)]

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use runtime::{Env, Observation, ProcessEnd, Side, effect};
use std::sync::Mutex;
use world::{End, HostId, ProcessFault, World};

/// A driver that carries out an effect each millisecond; counts what it has done.
fn drive(env: &Env, done: &Arc<AtomicU32>) {
    let (env, done) = (env.clone(), Arc::clone(done));
    env.clone().spawn_detached("driver", async move {
        loop {
            env.sleep(Duration::from_millis(1)).await;
            env.before(effect!("partition.append"));
            done.fetch_add(1, Relaxed);
            env.after(effect!("partition.append"));
        }
    });
}

fn crash_at(host: HostId, side: Side, nth: u32) -> ProcessFault {
    ProcessFault::CrashAt { host, effect: effect!("partition.append"), side, nth }
}

#[test]
fn a_process_ends_before_the_effect_or_after_it_and_counts_as_killed() {
    for (side, done_at_end) in [(Side::Before, 2), (Side::After, 3)] {
        World::run(1, |world| async move {
            let ends = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&ends);
            world.on_event(Box::new(move |event| {
                if let Observation::ProcessEnded { how, why } = &event.what {
                    seen.lock().expect("one thread").push((*how, why.clone()));
                }
            }));
            let host = world.add_host("a");
            let done = Arc::new(AtomicU32::new(0));
            drive(&world.start(host), &done);
            let fault = world.apply(crash_at(host, side, 3));
            assert_eq!(world.fault(fault).hits, 0, "nothing has happened yet");
            assert_eq!(world.ended(host).await, End::Killed);
            assert_eq!((done.load(Relaxed), world.now().0), (done_at_end, 3_000_000), "{side:?}");
            assert_eq!(world.fault(fault).hits, 1);
            world.sleep(Duration::from_millis(20)).await;
            assert_eq!(done.load(Relaxed), done_at_end, "the other tasks of the process are gone too");
            assert_eq!(*ends.lock().expect("one thread"), [(ProcessEnd::Killed, String::new())], "no panic");
        });
    }
}

#[test]
fn a_crash_point_waits_for_the_next_process_and_is_spent_once_or_called_off() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let done = Arc::new(AtomicU32::new(0));
        let fault = world.apply(crash_at(host, Side::Before, 1));
        drive(&world.start(host), &done);
        assert_eq!(world.ended(host).await, End::Killed);
        drive(&world.start(host), &done);
        world.sleep(Duration::from_millis(10)).await;
        assert!(world.is_running(host), "one crash point, one crash");
        assert_eq!(world.fault(fault).hits, 1);

        let fault = world.apply(crash_at(host, Side::After, 5));
        world.sleep(Duration::from_millis(2)).await;
        world.heal(fault);
        world.sleep(Duration::from_millis(10)).await;
        assert!(world.is_running(host), "called off");
        assert_eq!(world.fault(fault).hits, 0);
    });
}

#[test]
fn a_wiped_host_finds_an_empty_disk_even_of_what_was_synced() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let disk = world.start(host).disk("data");
        disk.create_dir("t-0").await.expect("a directory");
        disk.replace("t-0/state", Bytes::from_static(b"durable").into()).await.expect("a file");
        let fault = world.apply(ProcessFault::Wipe(host));
        assert_eq!((world.is_running(host), world.fault(fault).hits), (false, 1));
        let disk = world.start(host).disk("data");
        assert_eq!(disk.list("").await.expect("a root"), []);
        assert_eq!(disk.read_all("t-0/state").await.expect_err("gone").kind(), ErrorKind::NotFound);
        disk.replace("state", Bytes::from_static(b"new").into()).await.expect("it works");
        assert_eq!(disk.read_all("state").await.expect("the file").to_vec(), b"new");

        let idle = world.add_host("idle");
        let fault = world.apply(ProcessFault::Wipe(idle));
        assert_eq!(world.fault(fault).hits, 0, "there was nothing to lose");
    });
}

#[test]
fn a_twin_has_a_copy_that_parts_from_the_original_and_survives_a_power_loss() {
    World::run(1, |world| async move {
        let (host, twin) = (world.add_host("a"), world.add_host("a-twin"));
        let disk = world.start(host).disk("data");
        disk.create_dir("t/0").await.expect("a directory");
        disk.replace("t/0/log", Bytes::from_static(b"both").into()).await.expect("a file");
        let fault = world.apply(ProcessFault::Twin { of: host, on: twin });
        assert_eq!(world.fault(fault).hits, 1);
        let copy = world.start(twin).disk("data");
        copy.replace("t/0/own", Bytes::from_static(b"twin's").into()).await.expect("a file");
        assert_eq!(disk.read_all("t/0/own").await.expect_err("not here").kind(), ErrorKind::NotFound);
        world.apply(ProcessFault::PowerOff { hosts: vec![twin], lose: world::Lose::Unsynced, torn_write: None });
        let copy = world.start(twin).disk("data");
        assert_eq!(copy.read_all("t/0/log").await.expect("the copy").to_vec(), b"both");
        assert_eq!(disk.read_all("t/0/log").await.expect("the original").to_vec(), b"both");
    });
}
