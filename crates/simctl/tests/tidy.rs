//! What the compiler does not check: who may use whom, and that a few words stay where they belong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The picture of ARCHITECTURE.md, a line a crate: what it may use of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("probe", &[]),
    ("problem", &[]),
    ("log", &["protocol", "probe"]),
    ("timeline", &["protocol", "probe"]),
    ("raft", &["protocol", "probe", "log", "timeline"]),
    ("metadata", &["protocol", "probe", "log", "timeline"]),
    ("replication", &["protocol", "probe", "log", "timeline"]),
    ("runtime", &["protocol", "probe"]),
    ("transport", &["protocol", "probe", "runtime"]),
    ("storage", &["protocol", "probe", "runtime", "log"]),
    (
        "broker",
        &["protocol", "probe", "log", "timeline", "raft", "metadata", "replication", "runtime", "transport", "storage"],
    ),
    ("server", &["protocol", "problem", "metadata", "runtime", "storage", "transport", "broker"]),
    ("client", &["protocol", "probe", "runtime", "transport"]),
    ("world", &["protocol", "probe", "runtime"]),
    ("harness", &["protocol", "probe", "problem", "runtime", "world", "client", "broker"]),
    ("simctl", &["harness", "server", "probe"]),
];

/// Crates that decide: no IO, so none of the field's crates that could do any.
const PURE: &[&str] = &["protocol", "probe", "problem", "log", "timeline", "raft", "metadata", "replication"];
const IO: &[&str] = &["tokio", "madsim", "tempfile", "futures-util"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/simctl lies two below").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the test reads the project's own files; nothing is simulated")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dependencies(name: &str) -> Vec<String> {
    let manifest: toml::Table = read(&root().join("crates").join(name).join("Cargo.toml")).parse().expect("a manifest");
    let table = manifest.get("dependencies").and_then(|table| table.as_table());
    table.map_or(Vec::new(), |table| table.keys().cloned().collect())
}

/// Every Rust file below `dir`, with its text.
fn sources(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries.map(|entry| entry.expect("a directory entry").path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&entry);
            found.insert(entry, text);
        }
    }
    found
}

#[test]
fn crates_use_only_what_the_picture_allows() {
    let ours: Vec<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (name, allowed) in MAY_USE {
        for dependency in dependencies(name) {
            if ours.contains(&dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
            if PURE.contains(name) && IO.contains(&dependency.as_str()) {
                wrong.push(format!("{name} decides, and {dependency} does IO"));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the picture of ARCHITECTURE.md: {wrong:#?}");
}

#[test]
fn every_crate_is_in_the_picture() {
    let mut crates: Vec<String> = std::fs::read_dir(root().join("crates"))
        .expect("the folder crates")
        .map(|entry| entry.expect("a directory entry").file_name().into_string().expect("a plain name"))
        .collect();
    crates.sort();
    let mut known: Vec<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(crates, known);
}

/// Lines of code (comments cut off) that `wrong` dislikes, as `path:line: code`.
fn lines_that(wrong: impl Fn(&Path, &[&str], usize) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(&root().join("crates")) {
        if path.ends_with("simctl/tests/tidy.rs") {
            continue;
        }
        let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        for number in 0..lines.len() {
            if wrong(&path, &lines, number) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, lines[number].trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_executor_names_madsim() {
    let wrong =
        lines_that(|path, lines, at| lines[at].contains("madsim::") && !path.ends_with("world/src/executor.rs"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_select_is_biased_and_nothing_waits_on_a_watch() {
    let wrong = lines_that(|_, lines, at| {
        let biased = lines[at..].iter().take(2).any(|line| line.contains("biased;"));
        (lines[at].contains("select! {") && !biased) || lines[at].contains("sync::watch")
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Names that stand in the code between `before` and a quote, but for the file that lists them.
fn named(before: &str, table: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (path, text) in sources(&root().join("crates")) {
        if !path.ends_with("simctl/tests/tidy.rs")
            && !path.ends_with(table)
            && !path.components().any(|it| it.as_os_str() == "tests")
        {
            let names = text.split(before).skip(1).filter_map(|rest| rest.split_once('"'));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    found
}

// The other way round is the compiler's in both: a name without a row does not compile.

#[test]
fn every_probe_of_the_table_stands_in_the_code() {
    let named = named("sometimes!(\"", "probe/src/probes.rs");
    let unused: Vec<_> =
        probe::PROBES.iter().map(|probe| probe.name).filter(|name| !named.iter().any(|it| it == name)).collect();
    assert!(unused.is_empty(), "rows of `probe::PROBES` that no `sometimes!` counts: {unused:?}");
}

#[test]
fn every_effect_of_the_table_is_carried_out_by_a_driver() {
    let named = named("effect!(\"", "runtime/src/effect.rs");
    let table = runtime::effect::EFFECTS.iter().map(|effect| effect.name);
    let unused: Vec<_> = table.filter(|name| !named.iter().any(|it| it == name)).collect();
    assert!(unused.is_empty(), "rows of `runtime::effect::EFFECTS` that no driver names: {unused:?}");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<PathBuf> = sources(&root().join("crates"))
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a first `//!` line: {silent:#?}");
}

#[test]
fn every_scenario_says_what_it_is_about() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("scenarios")).expect("the folder scenarios") {
        let path = entry.expect("a directory entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let scenario: toml::Table = read(&path).parse().expect("a scenario");
            let about = scenario.get("about").and_then(|about| about.as_str()).unwrap_or_default();
            assert!(about.len() > 20, "{} needs an `about` that is a sentence", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "no scenario at all");
}
