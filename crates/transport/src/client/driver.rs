//! The task of a connection that asks: writes what is posted, matches what comes back, keeps the time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use protocol::{ApiKey, Chunks, Monotonic, Str};
use runtime::{Env, Inbox, Post, ReadHalf, Sleep, WriteHalf};
use tokio::sync::oneshot;

use super::request::{Done, EncodedRequest};
use super::{Reason, RpcError};
use crate::frame::{FrameDecoder, take};
use crate::header::{RequestHeader, response_is_flexible, take_response_tags};

/// The most that is read at once.
const READ_MAX: usize = 256 * 1024;

/// What the handles of a connection tell its task.
pub(super) enum Order {
    Send { request: EncodedRequest, timeout: Duration, done: Done },
    Close,
}

/// Posts a request and waits for the body of its response.
pub(super) async fn ask(orders: &Post<Order>, request: EncodedRequest, timeout: Duration) -> Result<Chunks, RpcError> {
    let (sender, receiver) = oneshot::channel();
    let done = Done::new(move |outcome| drop(sender.send(outcome)));
    orders.post(Order::Send { request, timeout, done });
    receiver.await.unwrap_or(Err(RpcError::Lost(Reason::Closed)))
}

/// A request that is not answered yet.
struct InFlight {
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    deadline: Monotonic,
    /// Where it begins in the stream of all bytes sent.
    begins: u64,
    done: Done,
}

pub(super) struct Driver {
    pub(super) env: Env,
    pub(super) client_id: Option<Str>,
    pub(super) reader: ReadHalf,
    pub(super) writer: WriteHalf,
    pub(super) orders: Inbox<Order>,
    /// Whether handles are left that may post.
    pub(super) open: bool,
    pub(super) frames: FrameDecoder,
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) out: VecDeque<Bytes>,
    /// Bytes ever put into `out`.
    pub(super) queued: u64,
    pub(super) next_correlation: i32,
    pub(super) in_flight: InFlightQueue,
    /// Wakes no later than the first deadline of `in_flight`.
    pub(super) timer: Option<(Monotonic, Sleep)>,
    pub(super) closed: Arc<AtomicBool>,
}

/// Requests in the order of their sending.
#[derive(Default)]
pub(super) struct InFlightQueue(VecDeque<InFlight>);

impl Driver {
    /// Runs until the connection ends, then fails what is in flight.
    pub(super) async fn run(mut self) {
        let reason = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.fail(reason);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        match self.try_poll(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Reason::Closed),
            Err(reason) => Poll::Ready(reason),
        }
    }

    fn try_poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Reason> {
        loop {
            while self.open {
                match self.orders.poll_recv(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.open = false,
                    Poll::Ready(Some(Order::Close)) => return Ok(Poll::Ready(())),
                    Poll::Ready(Some(Order::Send { request, timeout, done })) => self.send(request, timeout, done),
                }
            }
            let wrote = !self.out.is_empty() && self.writer.0.poll_write(cx, &mut self.out)?.is_ready();
            if !self.open && self.in_flight.0.is_empty() && self.out.is_empty() {
                return Ok(Poll::Ready(()));
            }
            match self.reader.0.poll_read(cx, &mut self.pieces, READ_MAX)? {
                Poll::Ready(0) => return Err(Reason::Eof),
                Poll::Ready(_) => {
                    self.pieces.drain(..).for_each(|piece| self.frames.push(piece));
                    while let Some(frame) = self.frames.next_frame()? {
                        self.answer(frame)?;
                    }
                }
                Poll::Pending if wrote => {}
                Poll::Pending => return self.poll_timer(cx).map(|()| Poll::Pending),
            }
        }
    }

    fn send(&mut self, request: EncodedRequest, timeout: Duration, mut done: Done) {
        let EncodedRequest { api_key, api_version, body, answered } = request;
        let correlation_id = self.next_correlation;
        self.next_correlation = correlation_id.checked_add(1).unwrap_or(0);
        let header = RequestHeader { api_key, api_version, correlation_id, client_id: self.client_id.clone() };
        let head = header.head(body.len());
        let begins = self.queued;
        self.queued += (head.len() + body.len()) as u64;
        self.out.push_back(head);
        self.out.extend(body.into_list());
        if answered {
            done.sent = true;
            let deadline = self.env.now().mono + timeout;
            self.in_flight.0.push_back(InFlight { api_key, api_version, correlation_id, deadline, begins, done });
            if self.timer.as_ref().is_none_or(|(at, _)| deadline < *at) {
                self.timer = Some((deadline, self.env.sleep_until(deadline)));
            }
        } else {
            done.call(Ok(Chunks::new()));
        }
    }

    /// Matches a response to the oldest request.
    fn answer(&mut self, mut frame: Chunks) -> Result<(), Reason> {
        let expected = self.in_flight.0.front().ok_or(Reason::Unasked)?;
        if frame.len() < size_of::<i32>() {
            return Err(crate::header::HeaderError::Truncated.into());
        }
        let got = i32::from_be_bytes(take(&mut frame));
        if got != expected.correlation_id {
            return Err(Reason::Correlation { expected: expected.correlation_id, got });
        }
        if response_is_flexible(expected.api_key, expected.api_version) {
            take_response_tags(&mut frame)?;
        }
        let request = self.in_flight.0.pop_front().expect("the front was there");
        request.done.call(Ok(frame));
        Ok(())
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        while let Some((_, sleep)) = &mut self.timer {
            if Pin::new(sleep).poll(cx).is_pending() {
                return Ok(());
            }
            let now = self.env.now().mono;
            let first = self.in_flight.0.iter().map(|request| request.deadline).min();
            if first.is_some_and(|first| first <= now) {
                return Err(Reason::Timeout);
            }
            self.timer = first.map(|at| (at, self.env.sleep_until(at)));
        }
        Ok(())
    }

    /// Fails all that is in flight or posted, each with what is known about its sending.
    fn fail(mut self, reason: Reason) {
        self.closed.store(true, Ordering::Release);
        let unwritten: usize = self.out.iter().map(Bytes::len).sum();
        let written = self.queued - unwritten as u64;
        // The socket goes first: whoever learns of the failure may connect anew at once.
        drop(self.reader);
        drop(self.writer);
        for request in self.in_flight.0 {
            let sent = request.begins < written;
            request.done.call(Err(if sent { RpcError::Lost(reason) } else { RpcError::NotSent(reason) }));
        }
        while let Some(order) = self.orders.try_recv() {
            if let Order::Send { done, .. } = order {
                done.call(Err(RpcError::NotSent(reason)));
            }
        }
    }
}
