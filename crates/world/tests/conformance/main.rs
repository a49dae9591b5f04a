//! What both arms of the seam owe: each body runs on real sockets and files, and on simulated hosts.
//!
//! `os` and `sim` in a test's name say which arm ran. A body that asserts more in the world (an exact time, shared bytes)
//! asks [`arm::Arm::world`]. What only a world can show (faults, power loss, exact times) is in the other test files.
#![cfg(madsim)]

mod arm;
mod files;
mod streams;
mod time;
