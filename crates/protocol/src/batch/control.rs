//! Records of control batches: transaction markers, and what the quorum writes about itself.

use bytes::Bytes;

use super::{Batch, BatchBuilder, BatchError, Codec, Record};
use crate::codec::{Decoder, EncodeError, Encoder};
use crate::messages::{
    EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, Message, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord,
};
use crate::{LeaderEpoch, Offset, Timestamp};

/// What a control record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i16)]
pub enum ControlType {
    /// A transaction is undone.
    Abort = 0,
    /// A transaction stands.
    Commit = 1,
    /// A leader of the quorum begins its epoch.
    LeaderChange = 2,
    /// A snapshot begins.
    SnapshotHeader = 3,
    /// A snapshot is complete.
    SnapshotFooter = 4,
    /// The quorum's feature level.
    KraftVersion = 5,
    /// The quorum's voters.
    KraftVoters = 6,
}

impl ControlType {
    /// Its name in Kafka.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abort => "ABORT",
            Self::Commit => "COMMIT",
            Self::LeaderChange => "LEADER_CHANGE",
            Self::SnapshotHeader => "SNAPSHOT_HEADER",
            Self::SnapshotFooter => "SNAPSHOT_FOOTER",
            Self::KraftVersion => "KRAFT_VERSION",
            Self::KraftVoters => "KRAFT_VOTERS",
        }
    }

    /// The type of a number.
    pub const fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KraftVersion,
            6 => Self::KraftVoters,
            _ => return None,
        })
    }
}

/// A control record. Its own `version` field, where the schema has one, is that of the value.
#[derive(Clone, PartialEq, Debug)]
pub enum ControlRecord {
    /// A transaction is undone.
    Abort(EndTxnMarker),
    /// A transaction stands.
    Commit(EndTxnMarker),
    /// A leader of the quorum begins its epoch.
    LeaderChange(LeaderChangeMessage),
    /// A snapshot begins.
    SnapshotHeader(SnapshotHeaderRecord),
    /// A snapshot is complete.
    SnapshotFooter(SnapshotFooterRecord),
    /// The quorum's feature level.
    KraftVersion(KRaftVersionRecord),
    /// The quorum's voters.
    KraftVoters(VotersRecord),
}

/// The version of control record keys, and of transaction markers.
const VERSION: i16 = 0;

impl ControlRecord {
    /// What it is about.
    pub const fn kind(&self) -> ControlType {
        match self {
            Self::Abort(_) => ControlType::Abort,
            Self::Commit(_) => ControlType::Commit,
            Self::LeaderChange(_) => ControlType::LeaderChange,
            Self::SnapshotHeader(_) => ControlType::SnapshotHeader,
            Self::SnapshotFooter(_) => ControlType::SnapshotFooter,
            Self::KraftVersion(_) => ControlType::KraftVersion,
            Self::KraftVoters(_) => ControlType::KraftVoters,
        }
    }

    /// The type that the key of a record of a control batch states; `None` if there is no such type.
    pub fn kind_of(record: &Record) -> Option<ControlType> {
        let key = record.key.as_ref()?;
        ControlType::from_code(i16::from_be_bytes(*key.get(2..4)?.first_chunk()?))
    }

    /// Reads a record of a control batch; `None` for a type that is not known, which readers skip.
    pub fn decode(record: &Record) -> Result<Option<Self>, BatchError> {
        let bad = |problem| BatchError::Record { index: record.offset_delta, problem };
        if record.key.as_ref().is_none_or(|key| key.len() < 4) {
            return Err(bad("the key of a control record is too short"));
        }
        let Some(kind) = Self::kind_of(record) else { return Ok(None) };
        let value = record.value.clone().ok_or_else(|| bad("a control record without a value"))?;
        let version =
            value.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)).ok_or_else(|| bad("its value is too short"))?;
        // A marker's version stands before its fields; the others have it as their first field.
        let marker = || EndTxnMarker::decode(&mut Decoder::from(value.slice(2..)), VERSION);
        let decoded = match kind {
            ControlType::Abort => marker().map(Self::Abort),
            ControlType::Commit => marker().map(Self::Commit),
            ControlType::LeaderChange => read(&value, version).map(Self::LeaderChange),
            ControlType::SnapshotHeader => read(&value, version).map(Self::SnapshotHeader),
            ControlType::SnapshotFooter => read(&value, version).map(Self::SnapshotFooter),
            ControlType::KraftVersion => read(&value, version).map(Self::KraftVersion),
            ControlType::KraftVoters => read(&value, version).map(Self::KraftVoters),
        };
        decoded.map(Some).map_err(|_| bad("its value is not what its type says"))
    }

    /// The key of its record.
    pub fn key(&self) -> Bytes {
        let [version, kind] = [VERSION, self.kind() as i16].map(i16::to_be_bytes);
        Bytes::copy_from_slice(&[version[0], version[1], kind[0], kind[1]])
    }

    /// The value of its record.
    pub fn value(&self) -> Result<Bytes, EncodeError> {
        let marker = |marker: &EndTxnMarker| {
            let mut out = Encoder::new();
            out.i16(VERSION);
            marker.encode(&mut out, VERSION)?;
            Ok(out.finish().into_contiguous())
        };
        match self {
            Self::Abort(body) | Self::Commit(body) => marker(body),
            Self::LeaderChange(body) => body.to_bytes(body.version),
            Self::SnapshotHeader(body) => body.to_bytes(body.version),
            Self::SnapshotFooter(body) => body.to_bytes(body.version),
            Self::KraftVersion(body) => body.to_bytes(body.version),
            Self::KraftVoters(body) => body.to_bytes(body.version),
        }
    }

    /// A control batch of the quorum: these records, no producer.
    pub fn batch(at: Offset, epoch: LeaderEpoch, timestamp: Timestamp, records: &[Self]) -> Result<Batch, EncodeError> {
        let mut builder = BatchBuilder::new(Codec::None).at(at, epoch).control();
        for record in records {
            builder.append(timestamp, Some(record.key()), Some(record.value()?), &[]);
        }
        builder.build().map_err(|_| EncodeError::TooLong { field: "control records", length: records.len() })
    }

    /// The batch of one transaction marker.
    pub fn marker_batch(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        timestamp: Timestamp,
    ) -> Result<Batch, EncodeError> {
        let mut builder =
            BatchBuilder::new(Codec::None).control().transactional().producer(producer_id, producer_epoch, -1);
        builder.append(timestamp, Some(self.key()), Some(self.value()?), &[]);
        builder.build().map_err(|_| EncodeError::TooLong { field: "control records", length: 1 })
    }
}

fn read<M: Message>(value: &Bytes, version: i16) -> Result<M, crate::DecodeError> {
    // Values of versions to come have the fields of the newest one known first, and tagged fields behind.
    M::decode(&mut Decoder::from(value.clone()), version.clamp(*M::VERSIONS.start(), *M::VERSIONS.end()))
}
