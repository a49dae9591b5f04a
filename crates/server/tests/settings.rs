//! Claims about configuration: what is said of a wrong one, and what a right one means.

use server::problems::Source;
use server::settings::{Read, settle};

fn file(path: &str, text: &str) -> Option<Source> {
    Some(Source { path: path.to_owned(), text: text.to_owned() })
}

/// What is said of a file and a command line.
fn said(path: &str, text: &str, command_line: &str) -> String {
    let read = settle(file(path, text), command_line);
    let said = read.problems.render(&read.sources, false);
    assert_eq!(read.settings.is_none(), read.problems.has_errors(), "{said}");
    said
}

fn good(file: Option<Source>, command_line: &str) -> broker::Config {
    let Read { sources, problems, settings } = settle(file, command_line);
    settings.unwrap_or_else(|| panic!("{}", problems.render(&sources, false))).config
}

#[test]
fn unknown_and_ill_typed_properties_are_errors_at_their_lines_and_known_ones_warnings() {
    let text = "# a broker
node.id=1
log.segment.byte=100
num.partitions=zero
num.io.threads=8
auto.create.topics.enable=TRUE
retention.ms=3
frobnicate.thing=1
message.max.bytes=99999999999
compression.type=lzma
min_insync_replicas=2
node.id=2
";
    insta::assert_snapshot!(said("server.properties", text, ""));
}

#[test]
fn what_toml_cannot_mean_is_told_at_its_place() {
    let text = "node.id = 1
listeners = [\"PLAINTEXT://0.0.0.0:9092\", \"EXTERNAL://host:9093\"]
log.dirs = [\"a\", \"b\"]
broker.rack = 1979-05-27
num.partitions = [3
";
    insta::assert_snapshot!(said("server.toml", text, "num.partitions=0\nx"));
}

#[test]
fn a_node_that_does_not_fit_its_quorum_is_told() {
    let text = "process.roles=controller
listeners=PLAINTEXT://127.0.0.1:9092
controller.quorum.voters=2@b2:9093,3@b3:9093
listener.security.protocol.map=PLAINTEXT:SSL
";
    insta::assert_snapshot!(said("server.properties", text, "node.id=1"));
    insta::assert_snapshot!(said("server.properties", "process.roles=broker\nlisteners=PLAINTEXT://h:9092\n", ""));
    insta::assert_snapshot!(said("server.properties", "controller.quorum.bootstrap.servers=b1:9093\n", ""));
}

#[test]
fn a_node_that_names_no_quorum_is_its_own() {
    let config = good(None, "");
    assert_eq!((config.node_id.0, config.is_broker, config.is_controller), (1, true, true));
    assert_eq!(config.broker_listener().map(|it| it.address.to_string()).as_deref(), Some("127.0.0.1:9092"));
    assert_eq!(config.controller_listener().map(|it| it.address.to_string()).as_deref(), Some("127.0.0.1:19092"));
    assert_eq!(config.voters[0].address.to_string(), "127.0.0.1:19092");
    assert_eq!(config.log_dir, "data");

    let wide = "listeners=PLAINTEXT://0.0.0.0:9095\nadvertised.listeners=PLAINTEXT://kafka.example.com:9095";
    let config = good(None, wide);
    assert_eq!(config.voters[0].address.to_string(), "127.0.0.1:19095");
    assert_eq!(config.advertised_listeners[0].address.to_string(), "kafka.example.com:9095");
}

#[test]
fn kafkas_own_file_for_a_combined_node_is_understood_and_the_command_line_wins() {
    let text = "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL
num.partitions=1
log.dirs=/tmp/kraft-combined-logs
";
    let config = good(file("server.properties", text), "num.partitions=4\nlog.dirs=here");
    assert_eq!((config.numbers.num_partitions, config.log_dir.as_str()), (4, "here"));
    assert_eq!(config.advertised_listeners[0].address.to_string(), "localhost:9092");
}

#[test]
fn what_nobody_acts_on_is_told_all_the_same() {
    let config = good(None, "num.io.threads=8\nlog.retention.hours=1");
    assert_eq!(config.given.get("num.io.threads").map(String::as_str), Some("8"));
    let retention = config.topic_defaults.iter().find(|(name, _)| &***name == "log.retention.ms");
    assert_eq!(retention.map(|(_, value)| &**value), Some("3600000"));
}

#[test]
fn a_property_has_kafkas_second_name_too_and_the_first_counts_more() {
    assert_eq!(good(None, "log.dir=a\nbroker.id=7").log_dir, "a");
    assert_eq!(good(None, "log.dir=a\nbroker.id=7").node_id.0, 7);
    assert_eq!(good(None, "log.dir=a\nlog.dirs=b").log_dir, "b");
}
