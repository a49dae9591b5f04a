//! Words of faults as a scenario has them: each reads back from its resolved form, each mistake is told at its place.
#![cfg(madsim)]

use harness::scenario;

fn with(faults: &[&str]) -> String {
    let faults: Vec<String> = faults.iter().map(|line| format!("  {{ at = \"storm\", {line} }},\n")).collect();
    format!(
        r#"schema = 1
name = "words"
about = "Words of faults."

[cluster]
brokers = 3
timers = "fast"

[topics.orders]
partitions = 1
replicas = 3

[load.writers]
produce = "orders"
rate = "100/s"
record = "128B"

[timeline]
phases = [
  {{ name = "storm", for = "20s" }},
]
faults = [
{}]
"#,
        faults.concat()
    )
}

const NETWORK_AND_CLOCKS: &[&str] = &[
    r#"loss = "b1 -> b2", share = "0.01%", for = "1s""#,
    r#"flap = "b1 | {b2, b3}", every = "1500ms", for = "9s""#,
    r#"delay_messages = "leader(orders/0) | b2", share = "12.5%", by = "2s""#,
    r#"reset_connections = "b1 -> b2", label = "link""#,
    r#"reset_connections = ["b1", "controller"], label = "hosts""#,
    r#"refuse_connections = "leader(orders/0)", for = "4s""#,
    r#"swizzle = ["b1", "b3"], for = "10s""#,
    r#"hang = "follower(orders/0)", for = "10s""#,
    r#"clock_offset = "b1", by = "-24h", for = "5s""#,
    r#"clock_drift = ["b1", "b2"], ppm = -500, for = "5s""#,
    r#"clock_jump = "b2", by = "250ms""#,
    r#"clock_freeze = "any", for = "1s""#,
];

#[test]
fn every_word_of_network_and_clocks_reads_back_from_what_it_resolves_to() {
    let read = |text: &str| match scenario::read("words.toml", text.as_bytes(), &[]) {
        Ok(reading) => reading.scenario,
        Err(refused) => panic!("{}\n{text}", refused.problems.render(&refused.source, false)),
    };
    let resolved = read(&with(NETWORK_AND_CLOCKS)).resolved();
    assert_eq!(read(&resolved).resolved(), resolved);
    let faults: Vec<&str> = resolved.lines().filter(|line| line.starts_with("  { at = ")).collect();
    assert_eq!(faults.len(), NETWORK_AND_CLOCKS.len());
    insta::assert_snapshot!(faults.join("\n"));
}

#[test]
fn mistakes_in_words_of_network_and_clocks_say_what_to_write() {
    let text = with(&[
        r#"loss = "b1 | b2", for = "1s""#,
        r#"loss = "b1 | b2", share = "5", label = "2""#,
        r#"delay_messages = "b1 | b2", share = "0%", by = "1s""#,
        r#"delay_messages = "b1", share = "1%", by = "0s", label = "4""#,
        r#"flap = "b1 | b2""#,
        r#"flap = "b1 | b2", every = "0ms", label = "6""#,
        r#"reset_connections = "b1 | b2", for = "2s""#,
        r#"swizzle = ["b1", "b2"]"#,
        r#"hang = []"#,
        r#"clock_offset = "b1", by = "0s""#,
        r#"clock_jump = "b1", by = "-5""#,
        r#"clock_jump = "b1", by = "5s", for = "2s", label = "12""#,
        r#"clock_drift = "b1", ppm = -1000000"#,
        r#"clock_freeze = "b9""#,
    ]);
    let said = match scenario::read("words.toml", text.as_bytes(), &[]) {
        Ok(_) => panic!("all of it was taken"),
        Err(refused) => refused.problems.render(&refused.source, false),
    };
    insta::assert_snapshot!(said);
}
