//! A disk that is full. How disks fail otherwise cannot be had from a real one at will: `disk_faults.rs`.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use runtime::{Disk, OpenMode};

use crate::arm::{Arm, pattern};
use crate::both;

/// What the small disk holds, in bytes.
const SMALL: usize = 1 << 20;

/// A file system of [`SMALL`] bytes, unmounted in the end.
pub struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).expect("a directory");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "wavetank"]).arg(&at).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(at)),
            Ok(output) => Err(format!("mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("mount: {error}")),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: files that are open yet must not keep it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Why no file system can be mounted here; nothing if one can.
pub fn missing() -> Option<String> {
    let root = tempfile::tempdir().expect("a temporary directory");
    Mounted::new(root.path().join("probe")).err()
}

/// A disk of [`SMALL`] bytes; nothing where none can be had.
fn small_disk(arm: &Arm, test: &str) -> Option<(Disk, Option<Mounted>)> {
    if let Some(world) = &arm.world {
        world.set_capacity(world.host("a").expect("it was added"), "small", Some(SMALL as u64));
        return Some((arm.a.disk("small"), None));
    }
    match Mounted::new(arm.root.join("small")) {
        Ok(mounted) => Some((arm.a.disk("small"), Some(mounted))),
        Err(why) => {
            drop(writeln!(std::io::stderr(), "\nSKIPPED {test} on the operating system: {why}"));
            None
        }
    }
}

both! {
    async fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(arm) {
        let Some((disk, _mounted)) = small_disk(&arm, "a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest") else {
            return;
        };
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.append(&file, pattern(0, 600_000).into()).await.unwrap();
        for _ in 0..2 {
            let error = disk.append(&file, pattern(600_000, 600_000).into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            assert_eq!(disk.len(&file).await.unwrap(), 600_000, "the file is as it was");
        }
        assert!(disk.read_all("a").await.unwrap().to_vec() == pattern(0, 600_000));
        disk.append(&file, pattern(600_000, 100_000).into()).await.expect("this fits");
        disk.sync(&file).await.unwrap();
        drop(file);
        disk.remove("a").await.unwrap();
        let file = disk.open("b", OpenMode::Create).await.unwrap();
        disk.append(&file, pattern(0, 900_000).into()).await.expect("there is room again");
    }
}
