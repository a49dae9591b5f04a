//! Scenario files from the disk.

use std::io::ErrorKind;
use std::path::Path;

use harness::scenario::{self, Reading, Rejection};

/// Reads one file.
#[expect(clippy::disallowed_methods, reason = "the command line reads files, so that nobody else has to")]
pub fn load(path: &Path, sets: &[String]) -> Result<Reading, Box<Rejection>> {
    let name = path.display().to_string();
    if path.is_dir() {
        let inside = format!("give its files: {}", path.join("*.toml").display());
        return Err(Rejection::unreadable(&name, "this is a folder, not a scenario", Some(inside)));
    }
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Rejection::unreadable(&name, "there is no such file", Some("`simctl list` shows what there is".to_owned()))
        }
        _ => Rejection::unreadable(&name, format!("failed to read it: {error}"), None),
    })?;
    scenario::read(&name, &bytes, sets)
}
