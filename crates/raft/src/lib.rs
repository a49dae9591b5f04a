//! The metadata quorum of one node: elects a controller and replicates the metadata log (KRaft; KIP-595, 996, 853).
//!
//! [`Quorum`] receives an [`Event`], decides, and lists [`Effect`]s that a driver carries out in order. There is no clock,
//! disk or socket here, and no record is looked into: time is an argument, IO results come back as events.
//!
//! ```text
//!                 election time-out                majority would                    majority
//!   Unattached ───────────────────► Prospective ───────────────────► Candidate ──────────────────► Leader
//!      ▲  │                           ▲   │                             │                             │
//!      │  │ leader known              │   │ refused or time-out:        │ time-out:                   │ resign, shutdown,
//!      │  ▼                           │   ▼ Follower or Unattached      ▼ Prospective                 ▼ check-quorum
//!      │ Follower ────────────────────┘                                                            Resigned
//!      │          fetch time-out                                                                      │ time-out
//!      └──────────────────────────────────────────────────────────────────────────────────────────────┘ epoch + 1
//! ```
//!
//! From every state a higher epoch leads to Follower (its leader is known) or Unattached. A file of [`role`] each has the
//! state's rules. Only voters stand for election; other nodes observe: Unattached or Follower without time-outs.
//!
//! | written before anybody hears of it ([`Effect::Persist`]) | not written |
//! |---|---|
//! | Unattached, Follower, Candidate, Leader, a granted vote | Prospective, Resigned (epoch, leader and vote are the former state's) |
//!
//! What is stricter than Kafka 4.3.1: a leader counts itself for the high watermark only once it has flushed, and an answer
//! that brings neither records nor news of a leader lets the asker rest for the retry back-off.
//!
//! Deliberately absent: snapshots (KIP-630) and changes of the voter set (KIP-853); the types have room for both.

mod config;
mod event;
mod log;
mod message;
mod peers;
mod quorum;
mod restart;
pub mod role;
mod vote;

pub use config::Config;
pub use event::{Batch, Content, Correlation, Effect, Effects, Election, Event, Failure, RequestId, Ticket};
pub use log::RestoredLog;
pub use message::{
    BatchHeader, BeginRequest, EndRequest, EpochEnd, ErrorCode, FetchRequest, FetchResponse, Header, Records, Request,
    Response, VoteRequest, VoteResponse, VoterKey,
};
pub use quorum::{Quorum, View};
pub use restart::Restored;
pub use role::RoleName;
pub use role::leader::{Description, ReplicaDescription};
