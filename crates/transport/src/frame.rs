//! Frames: a size of four bytes, big-endian and signed, then that many bytes. Cut from a stream as ropes, never glued.
//!
//! [`FrameDecoder`] is pure: pieces in, frames out, whatever the cuts between the pieces. It allocates nothing for a size
//! that is only stated.

use bytes::Bytes;
use protocol::Chunks;

/// Bytes of a frame's size.
pub const SIZE_LEN: usize = 4;

/// `socket.request.max.bytes`: the largest frame that Kafka takes by default.
pub const FRAME_BYTES_MAX: usize = 104_857_600;

/// A stream that holds no frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Negative or zero.
    #[error("frame of {0} bytes")]
    Size(i32),
    /// More than may be sent here.
    #[error("frame of {size} bytes, at most {max} are taken")]
    TooLarge {
        /// What the sender states.
        size: i32,
        /// What is taken.
        max: usize,
    },
}

/// Cuts a stream of pieces into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    received: Chunks,
    /// Size of the frame at the front, if its four bytes have been taken off.
    /// Invariant: `1..=max`.
    size: Option<usize>,
    max: usize,
}

impl FrameDecoder {
    /// Takes frames of at most `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { received: Chunks::new(), size: None, max }
    }

    /// Adds what arrived.
    pub fn push(&mut self, piece: Bytes) {
        self.received.push(piece);
    }

    /// The next whole frame, without its size. After an error there is no way on: close the connection.
    pub fn next_frame(&mut self) -> Result<Option<Chunks>, FrameError> {
        if self.size.is_none() && self.received.len() >= SIZE_LEN {
            self.size = Some(checked(i32::from_be_bytes(take(&mut self.received)), self.max)?);
        }
        match self.size {
            Some(size) if self.received.len() >= size => {
                self.size = None;
                Ok(Some(self.received.split_to(size)))
            }
            _ => Ok(None),
        }
    }

    /// Bytes received that no frame has taken with it.
    pub fn buffered(&self) -> usize {
        self.received.len()
    }

    /// Whether a part of a frame is here, so that the end of the stream would cut it.
    pub fn inside_frame(&self) -> bool {
        self.size.is_some() || !self.received.is_empty()
    }
}

fn checked(size: i32, max: usize) -> Result<usize, FrameError> {
    match usize::try_from(size) {
        Err(_) | Ok(0) => Err(FrameError::Size(size)),
        Ok(large) if large > max => Err(FrameError::TooLarge { size, max }),
        Ok(size) => Ok(size),
    }
}

/// Takes the first `N` bytes.
///
/// # Panics
/// If there are fewer.
pub(crate) fn take<const N: usize>(from: &mut Chunks) -> [u8; N] {
    let mut out = [0; N];
    let head = from.split_to(N);
    let mut at = 0;
    for piece in head.iter() {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    out
}

/// The size that stands before a frame of `len` bytes.
///
/// # Panics
/// If no size can state it: what we send is bounded far below.
pub(crate) fn size_of(len: usize) -> [u8; SIZE_LEN] {
    i32::try_from(len).expect("a frame below 2 GiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| size_of(frame.len()).into_iter().chain(frame.iter().copied())).collect()
    }

    /// Feeds `bytes` cut at `cuts` and takes frames whenever there are some.
    fn feed(decoder: &mut FrameDecoder, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut frames = Vec::new();
        for pair in cuts.windows(2) {
            decoder.push(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]));
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_cut_anywhere_come_out_whole_and_in_order(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20),
            cuts in prop::collection::vec(any::<usize>(), 0..60),
        ) {
            let mut decoder = FrameDecoder::new(200);
            prop_assert_eq!(feed(&mut decoder, &wire(&frames), &cuts).unwrap(), frames);
            prop_assert!(!decoder.inside_frame());
        }

        #[test]
        fn no_bytes_make_it_panic_or_hand_out_more_than_came(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<usize>(), 0..30),
            max in 1_usize..1_000,
        ) {
            let mut decoder = FrameDecoder::new(max);
            if let Ok(frames) = feed(&mut decoder, &bytes, &cuts) {
                let taken: usize = frames.iter().map(|frame| frame.len() + SIZE_LEN).sum();
                prop_assert!(taken + decoder.buffered() <= bytes.len());
                prop_assert!(frames.iter().all(|frame| (1..=max).contains(&frame.len())));
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused_before_their_bytes_arrive() {
        for (size, error) in [
            (-1, FrameError::Size(-1)),
            (i32::MIN, FrameError::Size(i32::MIN)),
            (0, FrameError::Size(0)),
            (101, FrameError::TooLarge { size: 101, max: 100 }),
            (i32::MAX, FrameError::TooLarge { size: i32::MAX, max: 100 }),
        ] {
            let mut decoder = FrameDecoder::new(100);
            decoder.push(Bytes::copy_from_slice(&size.to_be_bytes()));
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }

    #[test]
    fn a_frame_shares_the_pieces_it_came_in() {
        let pieces = [Bytes::from_static(&[0, 0, 0, 5, 1, 2]), Bytes::from_static(&[3, 4, 5, 0])];
        let mut decoder = FrameDecoder::new(100);
        pieces.iter().for_each(|piece| decoder.push(piece.clone()));
        let frame = decoder.next_frame().unwrap().unwrap();
        let starts: Vec<_> = frame.iter().map(|piece| piece.as_ptr()).collect();
        assert_eq!(starts, [pieces[0][4..].as_ptr(), pieces[1].as_ptr()]);
        assert!(decoder.inside_frame());
    }
}
