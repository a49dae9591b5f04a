//! Scenarios, clusters, loads, faults, checkers, reports.
//!
//! A [`scenario`] file says what is built, what is done to it and what is expected. [`run`] carries it out in a world
//! and collects a history of what clients saw and a stream of what happened; each [`checker`] judges one promise of
//! Kafka's; [`report`] says all of it to people and to other programs.
//!
//! Deliberately absent: wall clocks and files. `simctl` reads scenario files and writes reports.

pub mod checker;
pub mod event;
pub mod history;
pub mod measure;
pub mod report;
pub mod run;
pub mod scenario;
