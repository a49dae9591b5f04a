//! One accepted connection: one task that reads, calls, waits and writes.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::{ApiKey, Chunks, ErrorCode, Monotonic};
use runtime::{Address, ReadHalf, Sleep, WriteHalf};
use tokio::sync::oneshot;

use super::answer::{Answer, Reply, RequestContext, RequestFrame};
use super::{ConnectionId, Shared};
use crate::frame::{FrameDecoder, FrameError};
use crate::header::{HeaderError, RequestHeader, response_head};

/// The most that is read at once.
const READ_MAX: usize = 256 * 1024;
/// Answers wait in their futures once this much is to be written.
const WRITE_MAX: usize = 1 << 20;

/// Serves a connection to its end.
pub(super) async fn run(
    shared: &Arc<Shared>,
    id: ConnectionId,
    connection: runtime::Connection,
    stopped: oneshot::Receiver<()>,
) {
    let now = shared.env.now().mono;
    let peer = connection.peer.clone();
    let mut state = Serving {
        id,
        reader: connection.reader,
        writer: connection.writer,
        peer: connection.peer,
        frames: FrameDecoder::new(shared.config.frame_bytes_max),
        pieces: VecDeque::new(),
        slots: VecDeque::new(),
        bytes_in_flight: 0,
        unwritten: 0,
        out: VecDeque::new(),
        out_bytes: 0,
        stopped: Some(stopped),
        reading: true,
        active: now,
        idle: shared.env.sleep_until(now + shared.config.idle_max),
        shared: Arc::clone(shared),
    };
    match poll_fn(|cx| state.poll(cx)).await {
        Ok(()) => {}
        Err(End::Io(error)) => tracing::debug!(connection = %id, %peer, %error, "connection lost"),
        Err(End::Idle) => tracing::debug!(connection = %id, %peer, "connection idle"),
    }
}

/// Why a connection ends without its own doing.
enum End {
    Io(io::Error),
    Idle,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why a peer's connection is closed for what it sent.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("{0:?} version {1} is not served")]
    Version(ApiKey, i16),
}

/// A request whose response is not written yet.
struct Slot {
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    /// What the request counts against the bytes in flight.
    bytes: usize,
    arrival: Monotonic,
    answer: Answer,
}

struct Serving {
    shared: Arc<Shared>,
    id: ConnectionId,
    peer: Address,
    reader: ReadHalf,
    writer: WriteHalf,
    frames: FrameDecoder,
    /// Read, on the way into `frames`.
    pieces: VecDeque<Bytes>,
    /// Requests that are not answered, in their order.
    slots: VecDeque<Slot>,
    /// The sum of the bytes of `slots`.
    bytes_in_flight: usize,
    /// Requests whose answers are in `out`.
    unwritten: usize,
    out: VecDeque<Bytes>,
    /// Bytes put into `out` since it was last empty.
    out_bytes: usize,
    /// Ends when the server stops.
    stopped: Option<oneshot::Receiver<()>>,
    /// Whether requests are still taken. Once not, the connection ends when all is answered and written.
    reading: bool,
    /// When the last byte went over the connection.
    active: Monotonic,
    idle: Sleep,
}

impl Serving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Some(stopped) = &mut self.stopped
            && Pin::new(stopped).poll(cx).is_ready()
        {
            self.stopped = None;
            self.reading = false;
        }
        // Every kind of progress may make another possible; the task rests when none was made.
        loop {
            let mut progress = self.collect_answers(cx);
            if !self.out.is_empty() && self.poll_write(cx)? {
                progress = true;
            }
            if !self.reading && self.slots.is_empty() && self.out.is_empty() {
                self.writer.shutdown();
                return Poll::Ready(Ok(()));
            }
            progress |= self.take_requests();
            if !progress && self.may_take() {
                match self.reader.0.poll_read(cx, &mut self.pieces, READ_MAX)? {
                    // Nobody is there to read what is not yet answered.
                    Poll::Ready(0) => return Poll::Ready(Ok(())),
                    Poll::Ready(_) => {
                        self.active = self.shared.env.now().mono;
                        self.pieces.drain(..).for_each(|piece| self.frames.push(piece));
                        progress = true;
                    }
                    Poll::Pending => {}
                }
            }
            if !progress {
                return self.poll_idle(cx).map(Err);
            }
        }
    }

    /// Moves answers that are there into `out`, from the front; returns whether there were any.
    fn collect_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.out_bytes < WRITE_MAX
            && let Some(slot) = self.slots.front_mut()
        {
            let reply = match &mut slot.answer {
                Answer::Now(reply) => std::mem::replace(reply, Reply::NoResponse),
                Answer::Later(reply) => match reply.as_mut().poll(cx) {
                    Poll::Ready(reply) => reply,
                    Poll::Pending => break,
                },
            };
            let slot = self.slots.pop_front().expect("the front was there");
            self.bytes_in_flight -= slot.bytes;
            progress = true;
            match reply {
                Reply::Response(body) => self.write_later(&slot, body),
                Reply::NoResponse => {}
                Reply::Close => {
                    self.reading = false;
                    self.slots.clear();
                    self.bytes_in_flight = 0;
                }
            }
        }
        progress
    }

    fn write_later(&mut self, slot: &Slot, body: Chunks) {
        let head = response_head(slot.api_key, slot.api_version, slot.correlation_id, body.len());
        let bytes = head.len() + body.len();
        self.out_bytes += bytes;
        self.out.push_back(head);
        self.out.extend(body.into_list());
        self.unwritten += 1;
        let took = self.shared.env.now().mono.since(slot.arrival);
        self.shared.counters.response(slot.api_key, bytes, took);
    }

    /// Writes; returns whether all is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let pieces = self.out.len();
        let done = self.writer.0.poll_write(cx, &mut self.out)?.is_ready();
        if done || self.out.len() < pieces {
            self.active = self.shared.env.now().mono;
        }
        if done {
            self.unwritten = 0;
            self.out_bytes = 0;
        }
        Ok(done)
    }

    fn may_take(&self) -> bool {
        self.reading
            && self.slots.len() + self.unwritten < self.shared.config.requests_in_flight_max
            && self.bytes_in_flight < self.shared.config.bytes_in_flight_max
    }

    /// Hands whole requests to the service; returns whether there were any.
    fn take_requests(&mut self) -> bool {
        let mut progress = false;
        while self.may_take() {
            let taken = match self.frames.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => self.take_request(frame),
                Err(error) => Err(error.into()),
            };
            progress = true;
            if let Err(refusal) = taken {
                self.refuse(&refusal);
            }
        }
        progress
    }

    fn take_request(&mut self, frame: Chunks) -> Result<(), Refusal> {
        let (header, body_at) = RequestHeader::parse(&frame)?;
        let RequestHeader { api_key, api_version, correlation_id, client_id } = header;
        let config = &self.shared.config;
        let bytes = frame.len();
        let now = self.shared.env.now();
        let arrival = now.mono;
        let mut slot = Slot { api_key, api_version, correlation_id, bytes, arrival, answer: Answer::NO_RESPONSE };
        if !config.apis.contains(api_key, api_version) {
            let (ApiKey::ApiVersions, Some(range)) = (api_key, config.apis.get(api_key)) else {
                return Err(Refusal::Version(api_key, api_version));
            };
            slot.api_version = 0;
            slot.answer = Reply::Response(unsupported_version(range).into()).into();
        } else {
            self.shared.counters.request(api_key, bytes);
            let context = RequestContext {
                connection: self.id,
                listener: config.listener.clone(),
                principal: RequestContext::ANONYMOUS,
                client_id: client_id.unwrap_or_default(),
                api_key,
                api_version,
                correlation_id,
                peer: self.peer.clone(),
                arrival: now,
                deadline: None,
            };
            slot.answer = self.shared.service.call(context, RequestFrame::new(frame, body_at));
        }
        self.bytes_in_flight += slot.bytes;
        self.slots.push_back(slot);
        Ok(())
    }

    /// Takes no more, and ends once what came before is answered.
    fn refuse(&mut self, refusal: &Refusal) {
        tracing::warn!(connection = %self.id, peer = %self.peer, listener = %self.shared.config.listener, %refusal, "closing a connection");
        self.shared.counters.refused();
        self.reading = false;
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while Pin::new(&mut self.idle).poll(cx).is_ready() {
            let end = self.active + self.shared.config.idle_max;
            if self.shared.env.now().mono >= end {
                return Poll::Ready(End::Idle);
            }
            self.idle = self.shared.env.sleep_until(end);
        }
        Poll::Pending
    }
}

/// The body, in version 0, that answers ApiVersions of an unknown version: one entry, ApiVersions' own (KIP-511).
fn unsupported_version((first, last): (i16, i16)) -> Bytes {
    let mut body = BytesMut::with_capacity(12);
    body.put_i16(ErrorCode::UnsupportedVersion as i16);
    body.put_i32(1);
    body.put_i16(ApiKey::ApiVersions.code());
    body.put_i16(first);
    body.put_i16(last);
    body.freeze()
}
