//! Runs of entries of one origin, encoded and compressed once, and shared by all links that send them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::entry::Entry;
use crate::base::Origin;
use crate::base::limits::{COMPRESS_FROM_BYTES, FRAME_TARGET_BYTES};

/// Zstandard's fastest level: entries of like documents still shrink several times.
const LEVEL: i32 = 1;

/// Entries `first..=last` of one origin.
#[derive(Debug)]
pub struct Segment {
    pub origin: Origin,
    pub first: u64,
    pub last: u64,
    /// Encoded entries, each after its length as four bytes, big endian.
    pub(super) raw: Vec<u8>,
    packed: OnceLock<Option<Bytes>>,
}

impl Segment {
    /// Bytes before compression.
    pub fn size(&self) -> usize {
        self.raw.len()
    }

    /// The compressed form, made at the first call; None where it would not pay.
    pub(super) fn packed(&self) -> Option<&Bytes> {
        self.packed
            .get_or_init(|| {
                if self.raw.len() < COMPRESS_FROM_BYTES {
                    return None;
                }
                let packed = zstd::bulk::compress(&self.raw, LEVEL).ok()?;
                (packed.len() < self.raw.len()).then(|| packed.into())
            })
            .as_ref()
    }
}

/// Groups encoded entries, in the order of a log, into segments of about `FRAME_TARGET_BYTES`: those of
/// one origin stay in order and without gaps.
pub fn segments<'a>(entries: impl IntoIterator<Item = &'a Bytes>) -> Vec<Arc<Segment>> {
    let mut done: Vec<Segment> = Vec::new();
    let mut open: Vec<Segment> = Vec::new();
    for bytes in entries {
        let Some((origin, counter)) = Entry::peek(bytes) else { continue };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let at = open.iter().position(|s| s.origin == origin && s.last + 1 == counter);
        let at = at.unwrap_or_else(|| {
            open.push(Segment {
                origin,
                first: counter,
                last: counter,
                raw: Vec::new(),
                packed: OnceLock::new(),
            });
            open.len() - 1
        });
        let segment = &mut open[at];
        segment.last = counter;
        segment.raw.extend_from_slice(&length);
        segment.raw.extend_from_slice(bytes);
        if segment.raw.len() >= FRAME_TARGET_BYTES {
            done.push(open.remove(at));
        }
    }
    done.extend(open);
    done.into_iter().map(Arc::new).collect()
}
