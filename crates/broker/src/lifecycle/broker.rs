//! The task that registers a broker and keeps its session.
//!
//! | state | leaves to |
//! |---|---|
//! | Starting | Recovery: registered. Asked again after an interval; given up after `initial.broker.registration.timeout.ms` |
//! | Recovery | Running: ready, and a heartbeat's answer says unfenced |
//! | Running | Fenced: a heartbeat's answer says so |
//! | Fenced | Running: a heartbeat's answer says unfenced |
//! | any | PendingControlledShutdown: asked to stop; then ShuttingDown: the controller agrees, five minutes have passed, or no controller has answered for a session's time |
//!
//! One heartbeat at a time, given up after an interval. The broker of a registration that the controller no longer knows
//! (STALE_BROKER_EPOCH) goes on asking, fenced, as Kafka's does: only another process of its id can have caused it, and a
//! broker that registered anew would take the id from that one in turn. Kafka's goes on for ever, and applies the
//! metadata of the other's partitions to its own log. Here the process gives up once it reads in the metadata that another
//! incarnation has its id (`start.rs`).

use std::time::Duration;

use protocol::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use protocol::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use protocol::messages::broker_registration_request::{BrokerRegistrationRequest, Feature, Listener};
use protocol::{BrokerEpoch, ErrorCode, Monotonic, Str, Uuid};
use rand::Rng;
use runtime::{Env, Inbox, Observation};
use tokio::sync::oneshot;

use super::channel::ControllerChannel;
use super::{BrokerState, BrokerStatus, OnFatal, Shared, Start};
use crate::Config;
use crate::image::ImageCell;

/// Between heartbeats until the broker has caught up with its own registration.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(10);

/// From the first heartbeat of a controlled shutdown to the second.
const SHUTDOWN_SECOND: Duration = Duration::from_millis(50);

/// Kafka's limit for a controlled shutdown.
const SHUTDOWN_MAX: Duration = Duration::from_secs(300);

pub(super) enum Message {
    /// Logs are recovered, the first image is acted on.
    Ready,
    /// Stop in good order; tell when it may.
    Shutdown(oneshot::Sender<()>),
}

pub(super) struct Life {
    env: Env,
    shared: Shared,
    channel: ControllerChannel,
    image: ImageCell,
    interval: Duration,
    registration_timeout: Duration,
    session: Duration,
    /// When a heartbeat was last answered.
    answered_at: Monotonic,
    registration: BrokerRegistrationRequest,
    ready: bool,
    caught_up: bool,
    on_fatal: OnFatal,
    /// Since when, how many heartbeats ago, and whom to tell.
    shutdown: Option<Shutdown>,
}

struct Shutdown {
    since: Monotonic,
    beats: u32,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Life {
    pub(super) fn new(start: &Start<'_>, shared: Shared, channel: ControllerChannel, on_fatal: OnFatal) -> Self {
        let config = start.config;
        let mut incarnation = [0; 16];
        start.env.rng("incarnation").fill_bytes(&mut incarnation);
        let listeners = config.advertised_listeners.iter();
        let registration = BrokerRegistrationRequest {
            broker_id: config.node_id.0,
            cluster_id: Str::from(start.cluster_id.to_string()),
            incarnation_id: Uuid(incarnation),
            listeners: listeners
                .filter(|listener| listener.name != config.controller_listener_name)
                .map(|listener| Listener {
                    name: Str::from(listener.name.as_str()),
                    host: Str::from(&*listener.address.host),
                    port: listener.address.port,
                    security_protocol: 0,
                    ..Default::default()
                })
                .collect(),
            features: (start.release.features.iter())
                .map(|feature| Feature {
                    name: Str::from_static(feature.name),
                    min_supported_version: feature.min,
                    max_supported_version: feature.max,
                    ..Default::default()
                })
                .collect(),
            rack: config.rack.as_deref().map(Str::from),
            log_dirs: start.log_dirs.clone(),
            previous_broker_epoch: start.previous_epoch.0,
            ..Default::default()
        };
        Self {
            env: start.env.clone(),
            shared,
            channel,
            image: start.image.clone(),
            interval: Config::ms(config.numbers.broker_heartbeat_interval_ms),
            registration_timeout: Config::ms(config.numbers.initial_broker_registration_timeout_ms),
            session: Config::ms(config.numbers.broker_session_timeout_ms),
            answered_at: Monotonic::default(),
            registration,
            ready: false,
            caught_up: false,
            on_fatal,
            shutdown: None,
        }
    }

    pub(super) const fn incarnation(&self) -> Uuid {
        self.registration.incarnation_id
    }

    pub(super) async fn run(mut self, mut inbox: Inbox<Message>) {
        if self.register(&mut inbox).await {
            self.beat_until_stopped(&mut inbox).await;
        }
        self.enter(BrokerState::ShuttingDown);
        // Whoever asks now need not wait; so do those who asked before.
        drop(self.shutdown.take());
        while let Some(message) = inbox.recv().await {
            drop(message);
        }
    }

    /// Whether it was registered; `false`: it was asked to stop before, or gave up.
    async fn register(&mut self, inbox: &mut Inbox<Message>) -> bool {
        let give_up = self.env.now().mono + self.registration_timeout;
        loop {
            let asked_at = self.env.now().mono;
            let until = (asked_at + self.interval).min(give_up);
            let not_controller = ErrorCode::NotController.code();
            let answer = self.channel.ask(&self.registration, until, |it| it.error_code == not_controller).await;
            let problem = match answer {
                Ok(response) if response.error_code == 0 => {
                    let epoch = BrokerEpoch(response.broker_epoch);
                    self.shared.set(BrokerStatus { state: BrokerState::Recovery, epoch });
                    return true;
                }
                Ok(response) => ErrorCode::from_code(response.error_code).name().to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::info!(%problem, "not registered yet");
            if self.env.now().mono >= give_up {
                let why = format!("failed to register within {:?}: {problem}", self.registration_timeout);
                tracing::error!(%why, "the broker gives up");
                (self.on_fatal)(why);
                return false;
            }
            if !self.wait_until((asked_at + self.interval).min(give_up), inbox).await || self.shutdown.is_some() {
                return false;
            }
        }
    }

    /// Keeps the session until the broker may stop, or nobody can ask it to any more.
    async fn beat_until_stopped(&mut self, inbox: &mut Inbox<Message>) {
        loop {
            while let Some(message) = inbox.try_recv() {
                self.hear(message);
            }
            let sent_at = self.env.now().mono;
            let answered = match self.beat().await {
                Some(response) => {
                    self.answered_at = self.env.now().mono;
                    self.answered(&response)
                }
                // A failure costs an interval, as in Kafka.
                None => Some(self.interval),
            };
            let Some(pause) = answered else { return };
            if self.shutdown_is_hopeless() {
                tracing::warn!("the controllers do not relieve this broker in time; stopping without them");
                return;
            }
            if !self.wait_until(sent_at + pause, inbox).await {
                return;
            }
        }
    }

    /// Whether there is nothing more to be had from a controlled shutdown. When no controller has answered for as long as a
    /// session lasts, the session has ended, and so has what a controlled shutdown would save (Kafka waits five minutes).
    fn shutdown_is_hopeless(&self) -> bool {
        let now = self.env.now().mono;
        self.shutdown.as_ref().is_some_and(|Shutdown { since, .. }| {
            now >= *since + SHUTDOWN_MAX || now >= self.answered_at.max(*since) + self.session
        })
    }

    /// Waits, listening; returns early when there is a reason for a heartbeat. `false` if nobody is left to listen to.
    async fn wait_until(&mut self, at: Monotonic, inbox: &mut Inbox<Message>) -> bool {
        loop {
            match self.env.timeout_at(at, inbox.recv()).await {
                Ok(Some(message)) => {
                    if self.hear(message) {
                        return true;
                    }
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Whether it is a reason for a heartbeat at once.
    fn hear(&mut self, message: Message) -> bool {
        match message {
            Message::Ready => !std::mem::replace(&mut self.ready, true),
            Message::Shutdown(done) => {
                let since = self.env.now().mono;
                let first = self.shutdown.is_none();
                let shutdown = self.shutdown.get_or_insert(Shutdown { since, beats: 0, waiting: Vec::new() });
                shutdown.waiting.push(done);
                first
            }
        }
    }

    async fn beat(&mut self) -> Option<BrokerHeartbeatResponse> {
        if self.shutdown.is_some() {
            self.enter(BrokerState::PendingControlledShutdown);
        }
        let request = BrokerHeartbeatRequest {
            broker_id: self.registration.broker_id,
            broker_epoch: self.shared.status().epoch.0,
            current_metadata_offset: self.image.applied().0,
            want_fence: !self.ready,
            want_shut_down: self.shutdown.is_some(),
            ..Default::default()
        };
        let give_up = self.env.now().mono + self.interval;
        let not_controller = ErrorCode::NotController.code();
        match self.channel.ask(&request, give_up, |it| it.error_code == not_controller).await {
            Ok(response) if response.error_code == 0 => Some(response),
            Ok(response) => {
                let code = ErrorCode::from_code(response.error_code);
                tracing::warn!(%code, "heartbeat refused");
                if code == ErrorCode::StaleBrokerEpoch {
                    self.fenced();
                }
                None
            }
            Err(error) => {
                tracing::info!(%error, "heartbeat failed");
                None
            }
        }
    }

    /// What an answer says, and how long after its heartbeat the next is due; `None`: the broker may stop.
    fn answered(&mut self, response: &BrokerHeartbeatResponse) -> Option<Duration> {
        if response.is_caught_up && !std::mem::replace(&mut self.caught_up, true) {
            // This node knows of its registration, and so of all that it cost its former incarnation.
            self.image.release();
        }
        if let Some(shutdown) = &mut self.shutdown {
            // An answer to a heartbeat that did not ask for it yet says nothing.
            if self.shared.status().state == BrokerState::PendingControlledShutdown {
                shutdown.beats += 1;
                if response.should_shut_down {
                    return None;
                }
            }
            return Some(match shutdown.beats {
                0 => Duration::ZERO,
                1 => SHUTDOWN_SECOND,
                _ => self.interval,
            });
        }
        if response.is_fenced {
            self.fenced();
        } else {
            self.unfenced();
        }
        Some(if self.caught_up { self.interval } else { CATCH_UP_INTERVAL })
    }

    fn fenced(&self) {
        let status = self.shared.status();
        if status.state == BrokerState::Running {
            probe::sometimes!("broker_saw_itself_fenced");
            tracing::warn!(
                epoch = status.epoch.0,
                "fenced by the controller: this broker leads nothing until it is unfenced"
            );
            self.enter(BrokerState::Fenced);
            self.env.observe(Observation::BrokerFenced { epoch: status.epoch });
        }
    }

    fn unfenced(&self) {
        let status = self.shared.status();
        if matches!(status.state, BrokerState::Recovery | BrokerState::Fenced) {
            tracing::info!(epoch = status.epoch.0, "unfenced: this broker serves");
            self.enter(BrokerState::Running);
            self.env.observe(Observation::BrokerRunning { epoch: status.epoch });
        }
    }

    fn enter(&self, state: BrokerState) {
        self.shared.set(BrokerStatus { state, ..self.shared.status() });
    }
}
