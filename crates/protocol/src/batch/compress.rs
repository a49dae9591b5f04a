//! The four codecs, all pure Rust, as streams over a rope.
//!
//! Written are the forms that Kafka's Java clients write; read is whatever any client writes: gzip with any header,
//! snappy in xerial blocks or raw, any standard lz4 frame of independent blocks, any zstd frame. zstd is compressed at
//! the encoder's fastest level, the only one it has.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;

use super::BatchError;
use crate::Chunks;

/// How records are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i16)]
pub enum Codec {
    /// Not at all.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames.
    Zstd = 4,
}

impl Codec {
    /// Its name in configurations; `uncompressed` names `None` there too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" | "uncompressed" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rope read from its start.
pub(super) struct Rope {
    pieces: VecDeque<Bytes>,
    at: usize,
}

impl Rope {
    pub(super) fn new(bytes: Chunks) -> Self {
        Self { pieces: bytes.into_list(), at: 0 }
    }
}

impl BufRead for Rope {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.pieces.front().is_some_and(|front| front.len() == self.at) {
            self.pieces.pop_front();
            self.at = 0;
        }
        Ok(self.pieces.front().map_or(&[], |front| &front[self.at..]))
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Rope {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        self.consume(n);
        Ok(n)
    }
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Input of one xerial block.
const XERIAL_BLOCK: usize = 32 * 1024;
/// No snappy element makes more of its bytes: three give 64.
const SNAPPY_MOST: usize = 64;

fn damaged(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Snappy, in xerial blocks or as one raw block. A block's output is made when it is reached.
struct Snappy {
    input: Rope,
    /// `None`: raw, and read.
    xerial: bool,
    done: bool,
    block: Vec<u8>,
    at: usize,
}

impl Snappy {
    fn new(bytes: Chunks) -> Self {
        let xerial = bytes.len() >= 16 && bytes.slice(0, 8).to_vec() == XERIAL_MAGIC;
        let mut bytes = bytes;
        if xerial {
            bytes.advance(16);
        }
        Self { input: Rope::new(bytes), xerial, done: false, block: Vec::new(), at: 0 }
    }

    /// Decompresses the next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let compressed = if self.xerial {
            let mut size = [0; 4];
            if self.input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.input.read_exact(&mut size)?;
            if size == XERIAL_MAGIC[..4] {
                // Streams put behind each other: another header.
                let mut rest = [0; 12];
                self.input.read_exact(&mut rest)?;
                return Ok(true);
            }
            let size = u32::from_be_bytes(size) as u64;
            let mut compressed = Vec::new();
            (&mut self.input).take(size).read_to_end(&mut compressed)?;
            if compressed.len() as u64 != size {
                return Err(damaged("a snappy block is cut short"));
            }
            compressed
        } else {
            if self.done {
                return Ok(false);
            }
            let mut compressed = Vec::new();
            self.input.read_to_end(&mut compressed)?;
            compressed
        };
        self.done = true;
        let size = snap::raw::decompress_len(&compressed).map_err(io::Error::other)?;
        if size > compressed.len().saturating_mul(SNAPPY_MOST) {
            return Err(damaged("a snappy block states an impossible size"));
        }
        self.block.resize(size, 0);
        let n = snap::raw::Decoder::new().decompress(&compressed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(n);
        self.at = 0;
        Ok(true)
    }
}

impl BufRead for Snappy {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.block.len() && self.next_block()? {}
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Snappy {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// Opens compressed (or plain) bytes as a stream.
pub(super) fn open(codec: Codec, bytes: Chunks) -> io::Result<Box<dyn BufRead>> {
    Ok(match codec {
        Codec::None => Box::new(Rope::new(bytes)),
        Codec::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(Rope::new(bytes)))),
        Codec::Snappy => Box::new(Snappy::new(bytes)),
        Codec::Lz4 => {
            // Frames whose blocks depend on each other are standard, but Kafka's reader refuses them.
            let flags = bytes.slice(0, bytes.len().min(5)).to_vec();
            if flags.len() < 5 || flags[..4] != [0x04, 0x22, 0x4d, 0x18] || flags[4] & 0xe0 != 0x60 {
                return Err(damaged("not a frame of independent blocks"));
            }
            Box::new(BufReader::new(lz4_flex::frame::FrameDecoder::new(Rope::new(bytes))))
        }
        Codec::Zstd => {
            let stream = ruzstd::decoding::StreamingDecoder::new(Rope::new(bytes)).map_err(io::Error::other)?;
            Box::new(BufReader::new(stream))
        }
    })
}

pub(super) fn failed(codec: Codec) -> impl Fn(io::Error) -> BatchError {
    move |error| BatchError::Compression { codec, problem: error.to_string() }
}

/// Decompresses all of `bytes`, or fails where that would be more than `limit` bytes.
pub fn decompress(codec: Codec, bytes: &Chunks, limit: u64) -> Result<Bytes, BatchError> {
    if codec == Codec::None {
        return Ok(bytes.clone().into_contiguous());
    }
    let stream = open(codec, bytes.clone()).map_err(failed(codec))?;
    let mut out = Vec::new();
    stream.take(limit + 1).read_to_end(&mut out).map_err(failed(codec))?;
    if out.len() as u64 > limit {
        return Err(BatchError::TooLarge(limit));
    }
    Ok(out.into())
}

/// Compresses all of `bytes`.
pub fn compress(codec: Codec, bytes: &Chunks) -> Result<Bytes, BatchError> {
    let compressed = match codec {
        Codec::None => return Ok(bytes.clone().into_contiguous()),
        Codec::Gzip => gzip(bytes),
        Codec::Snappy => snappy(bytes),
        Codec::Lz4 => lz4(bytes),
        Codec::Zstd => {
            Ok(ruzstd::encoding::compress_to_vec(Rope::new(bytes.clone()), ruzstd::encoding::CompressionLevel::Fastest))
        }
    };
    compressed.map(Bytes::from).map_err(failed(codec))
}

fn gzip(bytes: &Chunks) -> io::Result<Vec<u8>> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    bytes.iter().try_for_each(|piece| out.write_all(piece))?;
    out.finish()
}

fn snappy(bytes: &Chunks) -> io::Result<Vec<u8>> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend(1i32.to_be_bytes());
    out.extend(1i32.to_be_bytes());
    let mut input = Rope::new(bytes.clone());
    let mut encoder = snap::raw::Encoder::new();
    let mut block = Vec::with_capacity(XERIAL_BLOCK.min(bytes.len()));
    loop {
        block.clear();
        (&mut input).take(XERIAL_BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(out);
        }
        let compressed = encoder.compress_vec(&block).map_err(io::Error::other)?;
        out.extend((compressed.len() as u32).to_be_bytes());
        out.extend(compressed);
    }
}

fn lz4(bytes: &Chunks) -> io::Result<Vec<u8>> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let form = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut out = FrameEncoder::with_frame_info(form, Vec::new());
    bytes.iter().try_for_each(|piece| out.write_all(piece))?;
    out.finish().map_err(io::Error::other)
}
