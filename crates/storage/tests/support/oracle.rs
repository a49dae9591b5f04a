//! The longest valid prefix of a log, read from the files' bytes by rules written down a second time.

use super::disk::MemDisk;
use super::driver::DIR;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub base: i64,
    pub last: i64,
    pub epoch: i32,
    pub bytes: Vec<u8>,
}

impl Seen {
    /// The largest timestamp that the header states.
    pub fn newest(&self) -> i64 {
        i64::from_be_bytes(self.bytes[35..43].try_into().unwrap())
    }
}

/// The first segment's base, and the batches.
pub fn longest_prefix(disk: &MemDisk) -> Option<(i64, Vec<Seen>)> {
    let prefix = format!("{DIR}/");
    let mut bases: Vec<i64> = (disk.names().iter())
        .filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix(".log")?.parse().ok())
        .collect();
    bases.sort_unstable();
    let first = *bases.first()?;
    let (mut seen, mut expected, mut epoch) = (Vec::new(), first, -1);
    for base in bases {
        if base != expected {
            break;
        }
        let bytes = disk.get(&format!("{DIR}/{base:020}.log")).expect("just listed");
        let mut at = 0;
        while let Some(batch) = batch(&bytes[at..]) {
            if batch.base < expected || batch.epoch < epoch {
                break;
            }
            at += batch.bytes.len();
            expected = batch.last + 1;
            epoch = batch.epoch;
            seen.push(batch);
        }
        if at < bytes.len() {
            break;
        }
    }
    Some((first, seen))
}

fn batch(bytes: &[u8]) -> Option<Seen> {
    let number = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    if bytes.len() < 61 {
        return None;
    }
    let size = usize::try_from(number(8)).ok()? + 12;
    if size < 61 || size > bytes.len() || bytes[16] != 2 || number(17) as u32 != crc(&bytes[21..size]) {
        return None;
    }
    let base = i64::from_be_bytes(bytes[..8].try_into().unwrap());
    Some(Seen { base, last: base + i64::from(number(23)), epoch: number(12), bytes: bytes[..size].to_vec() })
}

/// CRC-32C by its polynomial, bit by bit from a table.
fn crc(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8))
}
