//! The headers in front of requests and responses (formats.md §7, KIP-482).
//!
//! A request names its API, version, correlation id and client; from the API's first flexible version on, tagged fields
//! follow. A response repeats the correlation id, with tagged fields if flexible; ApiVersions' never has any, so that a
//! client can read it whatever it asked for.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::{ApiKey, Chunks, Str};

use crate::frame::{SIZE_LEN, size_of};

/// What stands in front of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: ApiKey,
    /// Which version of it; not checked against any range.
    pub api_version: i16,
    /// Repeated in the response.
    pub correlation_id: i32,
    /// Who asks; `None` counts as empty.
    pub client_id: Option<Str>,
}

/// Bytes that are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// They end inside it.
    #[error("request ends inside its header")]
    Truncated,
    /// Nobody knows the API.
    #[error("unknown api key {0}")]
    UnknownApi(i16),
    /// The client id is longer than the frame, or no text.
    #[error("client id is no text")]
    ClientId,
    /// The tagged fields have no end.
    #[error("tagged fields of the header are malformed")]
    Tags,
}

impl RequestHeader {
    /// Reads the header of a request frame; returns how long it is.
    pub fn parse(frame: &Chunks) -> Result<(Self, usize), HeaderError> {
        let first = frame.iter().next().cloned().unwrap_or_default();
        match parse(&first) {
            // Rare: the header lies across pieces, or is cut.
            Err(HeaderError::Truncated) if first.len() < frame.len() => parse(&frame.clone().into_contiguous()),
            result => result,
        }
    }

    /// Whether tagged fields follow.
    pub fn is_flexible(&self) -> bool {
        self.api_key.request_header_version(self.api_version) >= 2
    }

    /// The size of a frame with this header and `body_len` bytes behind it, and the header.
    pub(crate) fn head(&self, body_len: usize) -> Bytes {
        let client_id = self.client_id.as_ref().map(Str::as_bytes);
        let client_len = client_id.map_or(0, Bytes::len);
        let len = FIXED_LEN + 2 + client_len + usize::from(self.is_flexible());
        let mut head = BytesMut::with_capacity(SIZE_LEN + len);
        head.put_slice(&size_of(len + body_len));
        head.put_i16(self.api_key.code());
        head.put_i16(self.api_version);
        head.put_i32(self.correlation_id);
        match client_id {
            None => head.put_i16(-1),
            Some(text) => {
                head.put_i16(i16::try_from(client_len).expect("a client id below 32 KiB"));
                head.put_slice(text);
            }
        }
        if self.is_flexible() {
            head.put_u8(0);
        }
        head.freeze()
    }
}

/// Api key, version and correlation id.
const FIXED_LEN: usize = 8;

fn parse(bytes: &Bytes) -> Result<(RequestHeader, usize), HeaderError> {
    let fixed: [u8; FIXED_LEN + 2] = at(bytes, 0)?;
    let [k0, k1, v0, v1, c0, c1, c2, c3, l0, l1] = fixed;
    let key = i16::from_be_bytes([k0, k1]);
    let mut header = RequestHeader {
        api_key: ApiKey::from_code(key).ok_or(HeaderError::UnknownApi(key))?,
        api_version: i16::from_be_bytes([v0, v1]),
        correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        client_id: None,
    };
    let mut end = FIXED_LEN + 2;
    match i16::from_be_bytes([l0, l1]) {
        -1 => {}
        len => {
            let len = usize::try_from(len).map_err(|_| HeaderError::ClientId)?;
            if bytes.len() < end + len {
                return Err(HeaderError::Truncated);
            }
            header.client_id = Some(Str::from_utf8(bytes.slice(end..end + len)).map_err(|_| HeaderError::ClientId)?);
            end += len;
        }
    }
    if header.is_flexible() {
        end = skip_tags(bytes, end)?;
    }
    Ok((header, end))
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Result<[u8; N], HeaderError> {
    bytes.get(from..from + N).and_then(|slice| slice.try_into().ok()).ok_or(HeaderError::Truncated)
}

/// Where the tagged fields that begin at `from` end. Nobody defines any in a header; they are skipped.
fn skip_tags(bytes: &[u8], mut from: usize) -> Result<usize, HeaderError> {
    let count = varint(bytes, &mut from)?;
    for _ in 0..count {
        varint(bytes, &mut from)?;
        let len = varint(bytes, &mut from)? as usize;
        if bytes.len() - from < len {
            return Err(HeaderError::Truncated);
        }
        from += len;
    }
    Ok(from)
}

fn varint(bytes: &[u8], from: &mut usize) -> Result<u32, HeaderError> {
    let mut value = 0;
    for index in 0..5 {
        let [byte] = at(bytes, *from)?;
        *from += 1;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return if index == 4 && byte > 0x0f { Err(HeaderError::Tags) } else { Ok(value) };
        }
    }
    Err(HeaderError::Tags)
}

/// Whether tagged fields stand behind the correlation id of a response.
pub(crate) fn response_is_flexible(api_key: ApiKey, api_version: i16) -> bool {
    api_key.response_header_version(api_version) >= 1
}

/// The size of a response frame with `body_len` bytes of body, and its header.
pub(crate) fn response_head(api_key: ApiKey, api_version: i16, correlation_id: i32, body_len: usize) -> Bytes {
    let flexible = response_is_flexible(api_key, api_version);
    let len = 4 + usize::from(flexible);
    let mut head = BytesMut::with_capacity(SIZE_LEN + len);
    head.put_slice(&size_of(len + body_len));
    head.put_i32(correlation_id);
    if flexible {
        head.put_u8(0);
    }
    head.freeze()
}

/// Takes the tagged fields off the front of a response whose correlation id is off already.
pub(crate) fn take_response_tags(body: &mut Chunks) -> Result<(), HeaderError> {
    let first = body.iter().next().cloned().unwrap_or_default();
    let end = match skip_tags(&first, 0) {
        Err(HeaderError::Truncated) if first.len() < body.len() => skip_tags(&body.clone().into_contiguous(), 0)?,
        end => end?,
    };
    body.advance(end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = ApiKey> {
        (0_i16..100).prop_filter_map("no such key", ApiKey::from_code)
    }

    /// One rope of the bytes, cut at `cuts`.
    fn rope(bytes: &[u8], cuts: &[usize]) -> Chunks {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]])).collect()
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written_however_it_is_cut(
            api_key in keys(),
            api_version in -1_i16..20,
            correlation_id in any::<i32>(),
            client_id in prop::option::of("[a-zé]{0,20}"),
            body in prop::collection::vec(any::<u8>(), 0..30),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let header = RequestHeader { api_key, api_version, correlation_id, client_id: client_id.map(Str::from) };
            let head = header.head(body.len());
            let frame = [&head[SIZE_LEN..], &body].concat();
            prop_assert_eq!(&head[..SIZE_LEN], size_of(frame.len()));
            let (read, end) = RequestHeader::parse(&rope(&frame, &cuts)).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(&frame[end..], &body);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
            known in prop::option::of((keys(), 0_i16..18)),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            if let (Some((key, version)), true) = (known, bytes.len() >= 4) {
                bytes[..2].copy_from_slice(&key.code().to_be_bytes());
                bytes[2..4].copy_from_slice(&version.to_be_bytes());
            }
            let frame = rope(&bytes, &cuts);
            if let Ok((_, end)) = RequestHeader::parse(&frame) {
                prop_assert!(end <= bytes.len());
            }
            let _ = take_response_tags(&mut frame.clone());
        }
    }

    #[test]
    fn tagged_fields_of_a_header_are_skipped() {
        // Metadata v9, correlation id 5, client "a", two tagged fields of 1 and 130 bytes.
        let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 5, 0, 1, b'a', 2, 0, 1, 7, 1, 0x82, 1];
        frame.extend([9; 130]);
        let end = frame.len();
        frame.push(42);
        assert_eq!(RequestHeader::parse(&frame.into()).unwrap().1, end);
    }

    #[test]
    fn what_is_no_header_says_why() {
        let parse = |bytes: &[u8]| RequestHeader::parse(&bytes.to_vec().into()).unwrap_err();
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 5, 0]), HeaderError::Truncated);
        assert_eq!(parse(&[0, 200, 0, 0, 0, 0, 0, 5, 0, 0]), HeaderError::UnknownApi(200));
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 5, 0xff, 0xfe]), HeaderError::ClientId);
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 5, 0, 1, 0xff]), HeaderError::ClientId);
        assert_eq!(parse(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]), HeaderError::Tags);
    }
}
