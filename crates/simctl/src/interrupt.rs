//! Ctrl-C: the first one lets what runs come to its end and its report, the second ends at once. Both exit with [`CODE`].

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Interrupted (128 + SIGINT, as shells count).
pub const CODE: u8 = 130;

static ASKED: AtomicBool = AtomicBool::new(false);
static INSISTED: AtomicBool = AtomicBool::new(false);
static SWEEPING: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C is heard. Where it cannot be, it ends the program as it always did.
pub fn listen() {
    drop(ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            INSISTED.store(true, Ordering::Relaxed);
            if !SWEEPING.load(Ordering::Relaxed) {
                std::process::exit(i32::from(CODE));
            }
            return;
        }
        let words = "interrupted: what runs now is finished and reported; Ctrl-C again ends at once";
        drop(writeln!(std::io::stderr(), "\n{words}"));
    }));
}

/// As [`listen`]; the second Ctrl-C is only noted, because there are processes to end and a table to close.
pub fn listen_for_sweep() {
    SWEEPING.store(true, Ordering::Relaxed);
    listen();
}

/// Whether Ctrl-C was pressed.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Whether Ctrl-C was pressed twice.
pub fn insisted() -> bool {
    INSISTED.load(Ordering::Relaxed)
}
