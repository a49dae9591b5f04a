//! The same seed is the same run: compared between processes, where addresses and hashers differ.
#![cfg(madsim)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a child process says its hash on its output"
)]

mod support;

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use runtime::{Address, Env, OpenMode};
use support::{echo, read};
use world::{Config, Link, LinkProfile, Lose, NetworkFault, ProcessFault, TraceHash, World};

const SEED: &str = "WAVETANK_TEST_SEED";

fn config() -> Config {
    let link = LinkProfile { jitter: Duration::from_micros(70), ..LinkProfile::default() };
    Config { link, ..Config::default() }
}

/// One of three hosts: serves, talks to both others, and writes what it heard to its disk.
async fn node(env: Env, others: [&'static str; 2]) {
    env.spawn_detached("server", echo(env.clone(), 9092));
    let disk = env.disk("data");
    let file = disk.open("heard", OpenMode::Create).await.expect("a file");
    let mut rng = env.rng("load");
    loop {
        for other in others {
            let talk = async {
                let mut connection = env.connect(Address::new(other, 9092)).await?;
                for _ in 0..20 {
                    let bytes = Bytes::from(vec![0; 1 + (rng.next_u32() % 5000) as usize]);
                    let len = bytes.len();
                    connection.writer.write_chunks(bytes.into()).await?;
                    let heard = read(&mut connection, len).await?;
                    disk.append(&file, heard.into()).await?;
                }
                disk.sync(&file).await
            };
            if !matches!(env.timeout(Duration::from_secs(2), talk).await, Ok(Ok(()))) {
                env.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Three hosts talk for some seconds; with faults if the seed is odd.
fn run(seed: u64) -> (TraceHash, u64) {
    let run = World::run_with(seed, config(), |world| async move {
        let names = ["a", "b", "c"];
        let hosts = names.map(|name| world.add_host(name));
        let start = |index: usize| {
            let env = world.start(hosts[index]);
            env.spawn_detached("node", node(env.clone(), [names[(index + 1) % 3], names[(index + 2) % 3]]));
        };
        (0..3).for_each(start);
        world.sleep(Duration::from_secs(2)).await;
        if seed % 2 == 1 {
            let cut = world.apply(NetworkFault::Cut(Link::one_way(hosts[0], hosts[1])));
            world.sleep(Duration::from_millis(700)).await;
            world.apply(ProcessFault::Kill(hosts[1]));
            world.heal(cut);
            world.sleep(Duration::from_millis(300)).await;
            start(1);
            let pause = world.apply(ProcessFault::Pause(hosts[0]));
            world.sleep(Duration::from_millis(300)).await;
            world.apply(ProcessFault::PowerOff { hosts: vec![hosts[2]], lose: Lose::Mix, torn_write: Some(512) });
            world.heal(pause);
            world.sleep(Duration::from_millis(500)).await;
            start(2);
            world.sleep(Duration::from_secs(1)).await;
            assert!(world.faults().iter().all(|fault| fault.hits > 0), "{:?}", world.faults());
        }
        world.sleep(Duration::from_secs(1)).await;
        (world.trace_hash(), world.counters().events)
    });
    run.expect("it ends")
}

/// Not a test of its own: what the children run.
#[test]
fn child() {
    if let Ok(seed) = std::env::var(SEED) {
        let (hash, events) = run(seed.parse().expect("a number"));
        println!("hash {hash} events {events}");
    }
}

fn in_a_child(seed: u64) -> String {
    let program = std::env::current_exe().expect("a test binary");
    let output = Command::new(program)
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(SEED, seed.to_string())
        .output()
        .expect("a child process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let at = text.find("hash ").unwrap_or_else(|| panic!("no hash in {text}"));
    text[at..].lines().next().expect("a line").to_owned()
}

#[test]
fn two_processes_agree_on_the_trace_hash_of_an_echo_load() {
    let first = in_a_child(4);
    assert_eq!(first, in_a_child(4));
    assert_ne!(first, in_a_child(6));
    let events: u64 = first.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    assert!(events > 5_000, "{first}");
}

#[test]
fn two_processes_agree_on_the_trace_hash_of_a_run_with_faults() {
    let first = in_a_child(5);
    assert_eq!(first, in_a_child(5));
    assert_ne!(first, in_a_child(7));
}
