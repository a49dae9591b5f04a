//! Every fault on a running cluster: one small scenario each, and what it did to service.
//!
//! A test asserts three things: that the fault fired ([`Run::hits`]), that clients or the cluster felt it as they should, and
//! that all promises held. What a fault does to a single stream, file or clock is tested in `world`.
#![cfg(madsim)]

mod clock;
mod disk;
mod network;
mod process;
mod support;
mod two_phases;
