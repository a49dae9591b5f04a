//! Claims about the program itself: it is started as a user starts it, and asked over real sockets.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use client::{Admin, ClientConfig, Consumer, ConsumerEvent, NewTopic, Outcome, Producer, ProducerRecord, Start};
use protocol::{Bytes, TopicPartition};
use runtime::{Address, Env, os};

/// Nothing may take longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);
const TOPIC: &str = "orders";

/// The first of `count` ports that are free, with those of their controllers.
#[expect(clippy::disallowed_types, reason = "asks the system for ports that are free")]
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..500 {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let base = 21_000 + (std::process::id() as u16 % 700) * 10 % 7_000 + offset;
        if (base..base + count).all(|port| free(port) && free(port + 10_000)) {
            return base;
        }
    }
    panic!("no free ports");
}

struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wavetank-broker"));
        command.current_dir(dir).args(arguments).args(["--log", "warn"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// Reads until it says how to connect; all that it said.
    fn until_ready(&mut self) -> String {
        let mut said = String::new();
        while !said.contains("connect with") {
            let read = self.out.read_line(&mut said).expect("text");
            assert!(read > 0, "it ended: {said}{}", self.errors());
        }
        said
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
        text
    }

    fn ask_to_end(&self, at_once: bool) {
        os::ask_to_end(self.child.id(), at_once).expect("it runs");
    }

    /// Waits for its end; how it ended and what it said of errors.
    fn end(mut self) -> (ExitStatus, String) {
        let errors = self.errors();
        (self.child.wait().expect("it ends"), errors)
    }
}

impl Drop for Program {
    /// A test that failed leaves nothing behind: the nodes of a cluster end with the process that started them.
    fn drop(&mut self) {
        drop(self.child.kill());
    }
}

async fn produce(env: &Env, server: &Address, topic: &str, from: u32, count: u32) {
    let mut config = ClientConfig::fast("writer", vec![server.clone()]);
    config.set("delivery.timeout.ms", "90000").expect("a client property");
    let producer = Producer::new(env, config);
    for number in from..from + count {
        let value = Bytes::from(number.to_be_bytes().to_vec());
        let outcome = producer.send(ProducerRecord::new(topic, value).to(0)).await.outcome;
        assert!(matches!(outcome, Outcome::Ok { .. }), "{number}: {outcome:?}");
    }
}

/// Reads `count` records from the topic's first partition, which hold the numbers from 0 on.
async fn check(env: &Env, server: &Address, topic: &str, count: u32) {
    let partition = [(TopicPartition::new(topic, 0), Start::Earliest)];
    let mut consumer = Consumer::new(env, ClientConfig::fast("reader", vec![server.clone()]), partition);
    let mut seen = 0_u32;
    let reading = async {
        while seen < count {
            if let ConsumerEvent::Records { records, .. } = consumer.next().await {
                for record in records.iter() {
                    let value = record.value.as_deref().and_then(|value| value.try_into().ok());
                    let number = u32::from_be_bytes(value.expect("four bytes"));
                    // A send that was tried again after its leader's death may stand there twice.
                    assert!(number <= seen, "{number} at {}, and {seen} is missing", record.offset);
                    seen += u32::from(number == seen);
                }
            }
        }
    };
    env.timeout(PATIENCE, reading).await.expect("all that was acknowledged is read");
}

async fn create(env: &Env, server: &Address, topic: NewTopic) {
    let admin = Admin::new(env, ClientConfig::fast("admin", vec![server.clone()]));
    let name = topic.name.clone();
    let made = admin.create_topics(&[topic]).await;
    assert!(made.values().all(Result::is_ok), "{made:?}");
    admin.wait_for_leaders(&[name]).await.expect("leaders");
}

fn metrics(address: (&str, u16)) -> String {
    use std::io::Write as _;
    #[expect(clippy::disallowed_types, reason = "a scraper that is not ours")]
    let mut stream = std::net::TcpStream::connect(address).expect("metrics are served");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").expect("a question");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn one_broker_keeps_what_it_acknowledged_over_a_stop_and_a_kill_and_tells_its_metrics() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = free_ports(2);
    let (listen, scrape) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
    let arguments = ["--listen", &listen, "--metrics", &scrape];
    let mut program = Program::start(dir.path(), &arguments);
    let said = program.until_ready();
    assert!(said.contains(&format!("bootstrap.servers={listen}")), "{said}");
    os::run(dir.path().join("client"), None, |env| async move {
        let server = Address::new("127.0.0.1", port);
        create(&env, &server, NewTopic::new(TOPIC, 1, 1)).await;
        produce(&env, &server, TOPIC, 0, 10).await;
        check(&env, &server, TOPIC, 10).await;
        let answer = metrics(("127.0.0.1", port + 1));
        for line in [
            "HTTP/1.1 200 OK",
            "kafka_controller_kafkacontroller_activecontrollercount 1",
            "kafka_server_replicamanager_underreplicatedpartitions 0",
            "kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"} 10",
            "kafka_log_log_logendoffset{topic=\"orders\",partition=\"0\"} 10",
            "kafka_network_requestmetrics_requests_total{listener=\"PLAINTEXT\",request=\"CreateTopics\"} 1",
        ] {
            assert!(answer.lines().any(|it| it == line), "no line `{line}` in {answer}");
        }

        program.ask_to_end(false);
        let (status, errors) = program.end();
        assert!(status.success(), "{status}: {errors}");
        assert!(dir.path().join("data/.kafka_cleanshutdown").exists());

        let mut program = Program::start(dir.path(), &arguments);
        program.until_ready();
        produce(&env, &server, TOPIC, 10, 10).await;
        program.ask_to_end(true);
        program.end();

        let mut program = Program::start(dir.path(), &arguments);
        program.until_ready();
        produce(&env, &server, TOPIC, 20, 1).await;
        check(&env, &server, TOPIC, 21).await;
        program.ask_to_end(false);
        program.end();
    });
}

#[test]
fn three_processes_lose_nothing_when_one_is_killed_and_stop_all_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = free_ports(3);
    let listen = format!("127.0.0.1:{port}");
    let fast = ["--set", "broker.heartbeat.interval.ms=300", "--set", "broker.session.timeout.ms=1500"];
    let arguments = [["--listen", &listen, "--brokers", "3"].as_slice(), &fast].concat();
    let mut program = Program::start(dir.path(), &arguments);
    let said = program.until_ready();
    let victim = said.split("b3 ").nth(1).and_then(|rest| rest.split(['\n', ',']).next()).expect("its process");
    let victim: u32 = victim.parse().expect("a number");
    os::run(dir.path().join("client"), None, |env| async move {
        let server = Address::new("127.0.0.1", port);
        create(&env, &server, NewTopic::new(TOPIC, 1, 3)).await;
        produce(&env, &server, TOPIC, 0, 10).await;
        os::ask_to_end(victim, true).expect("it runs");
        produce(&env, &server, TOPIC, 10, 10).await;
        check(&env, &server, TOPIC, 20).await;
        program.ask_to_end(false);
        let (status, errors) = program.end();
        assert!(!status.success(), "a node was killed: that is no success");
        assert!(errors.contains("node b3 ended (signal: 9 (SIGKILL)): 2 go on; to start it again:"), "{errors}");
        assert!(errors.contains("--set node.id=3"), "{errors}");
    });
    for node in ["1", "2"] {
        assert!(dir.path().join("data").join(node).join(".kafka_cleanshutdown").exists(), "node {node}");
    }
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = free_ports(1);
    let listen = format!("127.0.0.1:{port}");
    let mut program = Program::start(dir.path(), &["--listen", &listen]);
    program.until_ready();
    let refused = |arguments: &[&str]| {
        let (status, errors) = Program::start(dir.path(), arguments).end();
        (status.code().expect("an exit code"), errors)
    };
    let (code, errors) = refused(&["--listen", &listen]);
    assert_eq!((code, errors.contains("data is in use by another process")), (1, true), "{errors}");
    let (code, errors) = refused(&["--listen", &listen, "--data", "other"]);
    assert_eq!((code, errors.contains("in use")), (1, true), "{errors}");
    assert!(errors.contains(&format!("cannot listen at {listen}")), "{errors}");
    let (code, errors) = refused(&["--data", "data/meta.properties/below"]);
    assert_eq!(
        (code, errors.contains("failed to make the directory data/meta.properties/below")),
        (1, true),
        "{errors}"
    );
    let (code, errors) = refused(&["--config", "nowhere.properties"]);
    assert_eq!((code, errors.contains("failed to read nowhere.properties")), (2, true), "{errors}");
    let (code, errors) = refused(&["--set", "num.partition=3"]);
    assert_eq!((code, errors.contains("did you mean `num.partitions`?")), (2, true), "{errors}");
    program.ask_to_end(false);
    program.end();
    let (code, errors) = refused(&["--listen", &listen, "--set", "cluster.id=AAAAAAAAAAAAAAAAAAAABQ"]);
    assert_eq!((code, errors.contains("the configuration names AAAAAAAAAAAAAAAAAAAABQ")), (1, true), "{errors}");
    let (code, errors) = refused(&[
        "--set",
        "controller.quorum.voters=1@a:1,2@b:2",
        "--set",
        "node.id=1",
        "--set",
        "listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2",
        "--data",
        "new",
    ]);
    assert_eq!((code, errors.contains("give all its nodes the same `cluster.id`")), (1, true), "{errors}");
}
