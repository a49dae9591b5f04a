//! What others see of a process that is killed, stopped, or panics, and what it leaves.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use crate::arm::{read_exactly, read_to_end, text};
use crate::peer::{DEAF, ECHO, PANIC, TICK, WRITE, WRITTEN};
use crate::with_a_peer;

const MS: Duration = Duration::from_millis(1);

with_a_peer! {
    async fn a_process_that_is_killed_closes_its_sockets(peer) {
        let mut one = peer.told(ECHO).await;
        one.writer.write_chunks(text("hello")).await.unwrap();
        assert_eq!(read_exactly(&mut one.reader, 5).await, b"hello");
        peer.kill();
        assert_eq!(read_to_end(&mut one.reader).await, b"", "its machine says FIN for it");
        peer.ended().await;
        let error = peer.env.connect(peer.address.clone()).await.expect_err("nobody listens any more");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    async fn a_process_that_is_killed_with_unread_data_resets(peer) {
        let mut deaf = peer.told(DEAF).await;
        deaf.writer.write_chunks(text("nobody reads this")).await.unwrap();
        peer.env.sleep(100 * MS).await;
        peer.kill();
        let error = deaf.reader.read(&mut VecDeque::new(), 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    async fn all_tasks_of_a_process_that_is_killed_end(peer) {
        let mut ticking = [peer.told(TICK).await, peer.told(TICK).await, peer.told(TICK).await];
        for one in &mut ticking {
            read_exactly(&mut one.reader, 2).await;
        }
        peer.kill();
        assert!(!peer.ended().await, "that is no crash");
        for one in &mut ticking {
            read_to_end(&mut one.reader).await;
        }
    }

    async fn a_process_that_is_stopped_accepts_and_never_answers_until_it_goes_on(peer) {
        let mut before = peer.told(ECHO).await;
        before.writer.write_chunks(text("x")).await.unwrap();
        assert_eq!(read_exactly(&mut before.reader, 1).await, b"x");
        peer.stop();
        peer.env.sleep(20 * MS).await;
        before.writer.write_chunks(text("old")).await.unwrap();
        // The kernel makes connections and takes what is written without asking the process.
        let mut during = peer.told(ECHO).await;
        during.writer.write_chunks(text("new")).await.unwrap();
        for connection in [&mut before, &mut during] {
            let answer = peer.env.timeout(300 * MS, connection.reader.read(&mut VecDeque::new(), 1)).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        peer.go_on();
        assert_eq!(read_exactly(&mut before.reader, 3).await, b"old");
        assert_eq!(read_exactly(&mut during.reader, 3).await, b"new");
    }

    async fn timers_of_a_process_that_is_stopped_fire_once_it_goes_on(peer) {
        let mut ticking = peer.told(TICK).await;
        read_exactly(&mut ticking.reader, 2).await;
        peer.stop();
        peer.env.sleep(100 * MS).await;
        // What was on its way.
        let mut list = VecDeque::new();
        drop(peer.env.timeout(MS, ticking.reader.read(&mut list, 1_000)).await);
        let tick = peer.env.timeout(300 * MS, ticking.reader.read(&mut list, 1)).await;
        assert!(tick.is_err(), "{tick:?}");
        peer.go_on();
        let resumed = peer.env.now().mono;
        read_exactly(&mut ticking.reader, 1).await;
        let took = peer.env.now().mono.since(resumed);
        assert!(took < 1_000 * MS, "{took:?}");
        assert!(peer.world().is_none() || took < MS, "it was due long ago: {took:?}");
        read_exactly(&mut ticking.reader, 3).await;
    }

    async fn a_stopped_process_can_be_killed(peer) {
        let mut one = peer.told(TICK).await;
        read_exactly(&mut one.reader, 1).await;
        peer.stop();
        peer.kill();
        read_to_end(&mut one.reader).await;
        assert!(!peer.ended().await);
    }

    async fn data_that_was_never_synced_is_there_after_a_kill(peer) {
        let mut one = peer.told(WRITE).await;
        assert_eq!(read_exactly(&mut one.reader, 1).await, b"w");
        peer.kill();
        peer.ended().await;
        let disk = peer.disk_of_the_next().await;
        assert_eq!(disk.read_all("unsynced").await.unwrap().to_vec(), WRITTEN.as_bytes());
    }

    async fn a_panic_in_a_task_is_the_end_of_its_process(peer) {
        let mut other = peer.told(ECHO).await;
        other.writer.write_chunks(text("x")).await.unwrap();
        assert_eq!(read_exactly(&mut other.reader, 1).await, b"x");
        let _told = peer.told(PANIC).await;
        assert_eq!(read_to_end(&mut other.reader).await, b"");
        assert!(peer.ended().await, "it is reported as a crash");
    }
}
