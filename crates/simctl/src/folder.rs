//! The folder of a run: `OUT/SCENARIO/SEED`. A repeated run replaces it; `OUT/latest` points at the last.

use std::io;
use std::path::{Path, PathBuf};

use harness::report::{Cost, RunResult, env_json, files};

/// Writes every file of a run; returns the folder.
#[expect(clippy::disallowed_methods, reason = "the command line writes files, so that nobody else has to")]
pub fn write(
    out: &Path,
    result: &RunResult,
    resolved: &str,
    trace: Option<&[String]>,
    cost: &Cost,
) -> io::Result<PathBuf> {
    let folder = out.join(&result.scenario).join(result.seed.to_string());
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder, &error)),
        _ => {}
    }
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, bytes)).map_err(|error| at(&path, &error))
    };
    for (name, bytes) in files(result, resolved) {
        save(name, &bytes)?;
    }
    save("env.json", &env_json(result, cost, std::env::consts::OS, std::env::consts::ARCH))?;
    if let Some(lines) = trace {
        let mut text = lines.join("\n");
        text.push('\n');
        save("trace.jsonl", text.as_bytes())?;
    }
    point_latest(out, &folder);
    Ok(folder)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to write {}: {error}", path.display()))
}

/// A convenience: where links cannot be made, there is none.
fn point_latest(out: &Path, folder: &Path) {
    let link = out.join("latest");
    let Ok(target) = folder.strip_prefix(out) else { return };
    if link.symlink_metadata().is_ok_and(|known| known.is_symlink()) {
        drop(std::fs::remove_file(&link));
    }
    #[cfg(unix)]
    drop(std::os::unix::fs::symlink(target, &link));
}
