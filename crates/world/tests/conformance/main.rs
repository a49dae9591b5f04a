//! What both arms of the seam owe: each body runs on real sockets and files, and on simulated hosts.
//!
//! `os` and `sim` in a test's name say which arm ran. A body that asserts more in the world (an exact time, shared bytes)
//! asks [`arm::Arm::world`]. [`arm`] is one machine on the operating system, [`wire`] two with a cable, [`peer`] another
//! process. What only a world can show (faults, power loss, exact times) is in the other test files; `docs/world.md` lists
//! all behaviours, and [`table`] holds it and the tests together.
#![cfg(madsim)]

mod arm;
mod degraded;
mod faulty;
mod files;
mod peer;
mod processes;
mod streams;
mod table;
mod time;
mod wire;
