//! Both arms, a server made of a closure, and a peer that speaks raw bytes.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ApiKey, Encoder, Message, Str};
use runtime::{Address, Chunks, Connection, Env};
use tokio::sync::oneshot;
use transport::server::{Answer, RequestContext, RequestFrame, Server, ServerConfig, Service, serve};
use transport::{ApiRanges, FrameDecoder, RequestHeader};
use world::{End, World};

/// Runs a test body on the operating system.
pub fn on_the_os<F: Future<Output = ()>>(body: impl FnOnce(Env) -> F) {
    let root = tempfile::tempdir().expect("a temporary directory");
    runtime::os::run(root.path(), Some(1), |env| async move {
        let Env::Os(process) = &env else { unreachable!("this arm") };
        let process = Arc::clone(process);
        body(env).await;
        assert_eq!(process.panics(), [], "a task panicked");
    });
}

/// Runs a test body on a simulated host.
pub fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Env) -> F) {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        if env.clone().spawn("body", body(env)).join().await.is_none() {
            match world.ended(host).await {
                End::Panicked { message, .. } => panic!("{message}"),
                end => panic!("{end:?}"),
            }
        }
    });
}

/// One test for each arm from one body.
#[macro_export]
macro_rules! both_arms {
    ($($(#[$doc:meta])* async fn $name:ident($env:ident) $body:block)*) => {$(
        mod $name {
            use super::*;
            async fn body($env: runtime::Env) $body

            $(#[$doc])*
            #[test]
            fn os() {
                $crate::common::on_the_os(body);
            }

            #[test]
            fn sim() {
                $crate::common::in_the_world(body);
            }
        }
    )*};
}

/// A service that is a closure.
pub struct Fake<F>(pub F);

impl<F: Fn(RequestContext, RequestFrame) -> Answer + Send + Sync + 'static> Service for Fake<F> {
    fn call(&self, context: RequestContext, request: RequestFrame) -> Answer {
        (self.0)(context, request)
    }
}

/// Any port of this machine.
pub fn here(env: &Env) -> Address {
    let host = match env {
        Env::Os(_) => "127.0.0.1",
        Env::Sim(_) => "a",
    };
    Address::new(host, 0)
}

/// Serves all stable APIs with a closure.
pub async fn start(
    env: &Env,
    configure: impl FnOnce(&mut ServerConfig),
    service: impl Fn(RequestContext, RequestFrame) -> Answer + Send + Sync + 'static,
) -> Server {
    let listener = env.listen(here(env)).await.unwrap();
    let mut config = ServerConfig::new("PLAINTEXT", ApiRanges::stable());
    configure(&mut config);
    serve(env, listener, config, Arc::new(Fake(service)))
}

/// A Metadata request for one topic.
pub fn ask(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

/// The topic that a Metadata request names.
pub fn asked(request: &RequestFrame, version: i16) -> Str {
    request.decode::<MetadataRequest>(version).unwrap().topics.unwrap()[0].name.clone().unwrap()
}

/// The Metadata response that names the topic asked for.
pub fn told(topic: Str) -> MetadataResponse {
    let topic = MetadataResponseTopic { name: Some(topic), ..Default::default() };
    MetadataResponse { topics: vec![topic], ..Default::default() }
}

/// Answers Metadata with what it asked.
pub fn echo(context: RequestContext, request: RequestFrame) -> Answer {
    let topic = asked(&request, context.api_version);
    context.answer(&told(topic))
}

/// A peer that speaks raw bytes.
pub struct Raw {
    pub stream: Connection,
    frames: FrameDecoder,
}

impl Raw {
    pub async fn connect(env: &Env, to: &Address) -> Self {
        Self::over(env.connect(to.clone()).await.unwrap())
    }

    pub fn over(stream: Connection) -> Self {
        Self { stream, frames: FrameDecoder::new(1 << 30) }
    }

    pub async fn write(&mut self, bytes: impl Into<Bytes>) {
        self.stream.writer.write_chunks(bytes.into().into()).await.unwrap();
    }

    /// The next frame; `None` at the end of the stream, however it came.
    pub async fn frame(&mut self) -> Option<Chunks> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(frame);
            }
            let mut pieces = VecDeque::new();
            match self.stream.reader.read(&mut pieces, 1 << 16).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => pieces.into_iter().for_each(|piece| self.frames.push(piece)),
            }
        }
    }

    /// The correlation id of the next response.
    pub async fn correlation(&mut self) -> Option<i32> {
        let frame = self.frame().await?.to_vec();
        Some(i32::from_be_bytes(frame[..4].try_into().unwrap()))
    }
}

/// A frame, its size included.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&i32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// A request's frame.
pub fn request(api_key: ApiKey, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(api_key.code().to_be_bytes());
    head.extend(api_version.to_be_bytes());
    head.extend(correlation_id.to_be_bytes());
    head.extend([0, 1, b'c']);
    if api_key.request_header_version(api_version) >= 2 {
        head.push(0);
    }
    head.extend(body);
    framed(&head)
}

/// A Metadata v1 request's frame.
pub fn metadata(correlation_id: i32, topic: &str) -> Vec<u8> {
    request(ApiKey::Metadata, 1, correlation_id, &encoded(&ask(topic), 1))
}

pub fn encoded<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut encoder = Encoder::new();
    message.encode(&mut encoder, version).unwrap();
    encoder.finish().to_vec()
}

/// The header of a request and its body.
pub fn parsed(frame: &Chunks) -> (RequestHeader, Chunks) {
    let (header, end) = RequestHeader::parse(frame).unwrap();
    (header, frame.slice(end, frame.len()))
}

/// Gates that answers wait at, by topic.
#[derive(Clone, Default)]
pub struct Gates(Arc<Mutex<Vec<Gate>>>);

type Gate = (String, Option<oneshot::Sender<()>>);

impl Gates {
    /// Waits for [`Gates::open`] of this topic.
    pub fn wait(&self, topic: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap().push((topic.to_owned(), Some(sender)));
        receiver
    }

    /// The topics that came, in order.
    pub fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect()
    }

    pub async fn seen_at_least(&self, env: &Env, count: usize) {
        while self.seen().len() < count {
            env.sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub fn open(&self, topic: &str) {
        let mut gates = self.0.lock().unwrap();
        let gate = gates.iter_mut().find(|(known, gate)| known == topic && gate.is_some()).expect("somebody waits");
        gate.1.take().unwrap().send(()).ok();
    }

    pub fn service(&self) -> impl Fn(RequestContext, RequestFrame) -> Answer + Send + Sync + 'static + use<> {
        let gates = self.clone();
        move |context, request| {
            let topic = asked(&request, context.api_version);
            let gate = gates.wait(&topic);
            Answer::later(async move {
                gate.await.ok();
                context.reply(&told(topic))
            })
        }
    }
}
