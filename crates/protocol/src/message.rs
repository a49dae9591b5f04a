//! What every generated message can do, and the headers of requests and responses.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::codec::{DecodeError, DecodeProblem, Decoder, EncodeError, Encoder};
use crate::messages::{RequestHeader, ResponseHeader};
use crate::{ApiKey, Chunks, Str};

/// A message with versions.
pub trait Message: Sized + Default + Send + Sync + 'static {
    /// Its name in the schemas.
    const NAME: &'static str;
    /// Its versions, an unstable last one included; [`ApiKey::versions`] has the stable ones.
    const VERSIONS: RangeInclusive<i16>;

    /// Reads the fields. [`Message::decode`] checks the version first.
    #[doc(hidden)]
    fn read_body(input: &mut Decoder, version: i16) -> Result<Self, DecodeError>;

    /// Writes the fields. [`Message::encode`] checks the version first.
    #[doc(hidden)]
    fn write_body(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Reads the message. Bytes behind its last field are left in `input`: at the end of a request they must be ignored
    /// (librdkafka sends some).
    fn decode(input: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        input.begin(Self::NAME, version);
        if !Self::VERSIONS.contains(&version) {
            return Err(input.error(DecodeProblem::Version));
        }
        Self::read_body(input, version)
    }

    /// Reads the message, which is all of `input`.
    fn decode_exact(input: impl Into<Decoder>, version: i16) -> Result<Self, DecodeError> {
        let mut input = input.into();
        let message = Self::decode(&mut input, version)?;
        input.finish()?;
        Ok(message)
    }

    /// Writes the message.
    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::Version { message: Self::NAME, version });
        }
        self.write_body(out, version)
    }

    /// Writes the message alone.
    fn to_chunks(&self, version: i16) -> Result<Chunks, EncodeError> {
        let mut out = Encoder::new();
        self.encode(&mut out, version)?;
        Ok(out.finish())
    }

    /// Writes the message alone, in one piece (a copy where it has large pieces).
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        self.to_chunks(version).map(Chunks::into_contiguous)
    }
}

/// A message that asks, and whose answer is known.
pub trait Request: Message {
    /// What it asks for.
    const KEY: ApiKey;
    /// The answer.
    type Response: Message;

    /// A whole frame without its size: header and body.
    fn to_frame(&self, version: i16, correlation_id: i32, client_id: Option<Str>) -> Result<Chunks, EncodeError> {
        let mut out = Encoder::new();
        RequestHeader::new(Self::KEY, version, correlation_id, client_id).encode_for(&mut out)?;
        self.encode(&mut out, version)?;
        Ok(out.finish())
    }
}

impl RequestHeader {
    /// The header of a request of `key` in `version`.
    pub fn new(key: ApiKey, version: i16, correlation_id: i32, client_id: Option<Str>) -> Self {
        Self {
            request_api_key: key.code(),
            request_api_version: version,
            correlation_id,
            client_id,
            unknown_tagged_fields: Vec::new(),
        }
    }

    /// What is asked for; `None` for a key that nobody knows.
    pub fn api_key(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.request_api_key)
    }

    /// Reads the header at the start of a frame. The first four bytes say in which version it is.
    ///
    /// A version that the API does not have is read with the header of the nearest one it has, so that the caller can
    /// answer by name. For ApiVersions, whose clients begin with their newest version, that is how Kafka does it too.
    pub fn decode_frame(input: &mut Decoder) -> Result<Self, DecodeError> {
        let [key0, key1, version0, version1] = input.peek().unwrap_or_default();
        let (key, version) = (i16::from_be_bytes([key0, key1]), i16::from_be_bytes([version0, version1]));
        Self::decode(input, ApiKey::from_code(key).map_or(1, |key| key.request_header_version(version)))
    }

    /// Writes the header in the version that its request needs.
    pub fn encode_for(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        let version = self.request_api_version;
        self.encode(out, self.api_key().map_or(1, |key| key.request_header_version(version)))
    }
}

impl ResponseHeader {
    /// The header of the answer to a request with this correlation id.
    pub fn new(correlation_id: i32) -> Self {
        Self { correlation_id, unknown_tagged_fields: Vec::new() }
    }

    /// Reads the header of an answer to `key` in `version`.
    pub fn decode_for(input: &mut Decoder, key: ApiKey, version: i16) -> Result<Self, DecodeError> {
        Self::decode(input, key.response_header_version(version))
    }

    /// Writes the header of an answer to `key` in `version`.
    pub fn encode_for(&self, out: &mut Encoder, key: ApiKey, version: i16) -> Result<(), EncodeError> {
        self.encode(out, key.response_header_version(version))
    }
}
