//! What the files of a log look like. Pure: bytes in, bytes out; the writer and the verifier each read files with code
//! of their own.
//!
//! | file | holds |
//! | --- | --- |
//! | `log-NNNNNNNN` | a segment: a header of one page, then frames, then zeros up to a fixed length. All but the last two are sealed by an end frame; the last is a spare, all zeros |
//! | `checkpoints` | every checkpoint as a frame, only ever appended to |
//! | `keys` | the keys that sign checkpoints now, a verifier key a line; replaced whole |
//! | `hashes-LL` | derived: roots of complete subtrees of 2^LL leaves, 32 bytes each; rebuilt where it is missing |
//! | `lock` | locked while a process writes |
//!
//! A frame is `head (8) ‖ payload ‖ zeros to a multiple of 8 ‖ check (7) ‖ 0xA5`. The head is one aligned little-endian
//! word: length in bits 0 to 23, kind in bits 24 to 31, and the complement of both above, so no flipped bit leaves it
//! valid. It is stored last and at once, so a frame with a head was written whole unless the machine lost
//! power. The check is the start of the payload's leaf hash. The last byte is never zero: what ends in zeros was
//! torn, and what does not end in zeros and fails its check was changed.

use crate::codec::{Reader, Writer};
use crate::error::Malformed;
use crate::merkle::{Frontier, Hash, MAX_PROOF, leaf_hash};
use sha2::{Digest, Sha256};

/// Bytes of a segment's header.
pub(crate) const PAGE: usize = 4096;
/// Smallest segment, in bytes: some of the largest records.
pub(crate) const MIN_SEGMENT: u64 = 256 * 1024;
/// Largest segment, in bytes: opening a log reads one into memory.
pub(crate) const MAX_SEGMENT: u64 = 256 * 1024 * 1024;
/// Bytes of a frame around its payload, without the zeros.
pub(crate) const FRAME: usize = 16;
/// Bytes of a frame before its payload.
pub(crate) const HEAD: usize = 8;
/// The last byte of every frame.
pub(crate) const MARK: u8 = 0xa5;
/// The file of checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// The file of current keys.
pub(crate) const KEYS: &str = "keys";

const MAGIC: [u8; 8] = *b"ronkms\0A";
const VERSION: u32 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Its payload is a record.
    Record,
    /// It ends its segment; no payload.
    End,
    /// Its payload is a signed note.
    Checkpoint,
}

impl FrameKind {
    fn of(byte: u32) -> Option<FrameKind> {
        match byte {
            1 => Some(FrameKind::Record),
            2 => Some(FrameKind::End),
            3 => Some(FrameKind::Checkpoint),
            _ => None,
        }
    }

    fn byte(self) -> u32 {
        match self {
            FrameKind::Record => 1,
            FrameKind::End => 2,
            FrameKind::Checkpoint => 3,
        }
    }
}

/// Bytes of the frame of a payload of this length.
pub(crate) const fn frame_len(payload: usize) -> usize {
    FRAME + payload.next_multiple_of(8)
}

/// The head of a frame. Payloads are below 2^24 bytes.
pub(crate) fn head(kind: FrameKind, payload: usize) -> u64 {
    let low = (kind.byte() << 24) | (payload as u32 & 0xff_ffff);
    u64::from(low) | (u64::from(!low) << 32)
}

/// Kind and length of payload, where `word` is a head.
pub(crate) fn parse_head(word: u64) -> Option<(FrameKind, usize)> {
    let low = word as u32;
    if (word >> 32) as u32 != !low {
        return None;
    }
    let len = (low & 0xff_ffff) as usize;
    let kind = FrameKind::of(low >> 24)?;
    (kind != FrameKind::End || len == 0).then_some((kind, len))
}

/// The last eight bytes of a frame.
pub(crate) fn trailer(leaf: &Hash) -> [u8; 8] {
    let [a, b, c, d, e, f, g, ..] = *leaf;
    [a, b, c, d, e, f, g, MARK]
}

/// What stands after the head of a frame whose payload has this leaf hash.
pub(crate) fn put_frame_body(out: &mut Vec<u8>, payload: &[u8], leaf: &Hash) {
    out.extend_from_slice(payload);
    out.resize(out.len() + payload.len().next_multiple_of(8) - payload.len(), 0);
    out.extend_from_slice(&trailer(leaf));
}

/// The leaf hash of the payload, where `body` (all after the head) is what [`put_frame_body`] makes of it.
pub(crate) fn check_frame_body(body: &[u8], payload: usize) -> Option<Hash> {
    let (data, rest) = body.split_at_checked(payload)?;
    let leaf = leaf_hash(data);
    let padding = payload.next_multiple_of(8) - payload;
    let (zeros, end) = rest.split_at_checked(padding)?;
    (zeros.iter().all(|byte| *byte == 0) && end == trailer(&leaf)).then_some(leaf)
}

/// A segment's header: what is needed to go on from here without the segments before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Counted from 0; also in the file's name.
    pub(crate) number: u32,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// The tree before the first record of this segment.
    pub(crate) frontier: Frontier,
}

impl SegmentHeader {
    /// The page; its last 32 bytes are the SHA-256 of those before.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE);
        let mut out = Writer(&mut page);
        out.array(&MAGIC);
        out.u32(VERSION);
        out.u32(self.number);
        out.u64(self.len);
        out.u64(self.frontier.size());
        self.frontier.peaks().iter().for_each(|peak| out.array(peak));
        page.resize(PAGE - 32, 0);
        let hash = Sha256::digest(&page);
        page.extend_from_slice(&hash);
        page
    }

    pub(crate) fn decode(page: &[u8]) -> Result<SegmentHeader, Malformed> {
        let (data, hash) = page.split_at_checked(PAGE - 32).ok_or(Malformed("segment header"))?;
        if Sha256::digest(data)[..] != *hash {
            return Err(Malformed("segment header"));
        }
        let mut input = Reader(data);
        if input.array("magic")? != MAGIC {
            return Err(Malformed("magic"));
        }
        if input.u32("version")? != VERSION {
            return Err(Malformed("version"));
        }
        let (number, len) = (input.u32("number")?, input.u64("length")?);
        let size = input.u64("size")?;
        let peaks = (0..size.count_ones())
            .map(|_| input.array("peaks"))
            .collect::<Result<Vec<Hash>, _>>()?;
        let frontier = Frontier::from_peaks(size, &peaks).ok_or(Malformed("peaks"))?;
        let bounds = MIN_SEGMENT..=MAX_SEGMENT;
        if !bounds.contains(&len) || input.0.iter().any(|byte| *byte != 0) {
            return Err(Malformed("length"));
        }
        Ok(SegmentHeader { number, len, frontier })
    }
}

const _: () = assert!(PAGE - 32 >= 32 + MAX_PROOF * 32, "all peaks fit into the page");

/// The name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("log-{number:08}")
}

/// The number of the segment with this name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u32> {
    let number = name.strip_prefix("log-")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The file of the roots of subtrees of 2^`level` leaves; levels are multiples of 8.
pub(crate) fn hashes_name(level: u32) -> String {
    format!("hashes-{level:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_leaves_a_head_valid() {
        for (kind, len) in [(FrameKind::Record, 300), (FrameKind::End, 0)] {
            let word = head(kind, len);
            assert_eq!(parse_head(word), Some((kind, len)));
            assert!((0..64).all(|bit| parse_head(word ^ (1 << bit)).is_none()));
        }
        assert_eq!(parse_head(0), None);
        assert_eq!(parse_head(u64::MAX), None);
    }

    #[test]
    fn no_flipped_bit_leaves_a_body_valid() {
        let payload = [9; 13];
        let mut body = Vec::new();
        put_frame_body(&mut body, &payload, &leaf_hash(&payload));
        assert_eq!(body.len() + HEAD, frame_len(13));
        assert_eq!(check_frame_body(&body, 13), Some(leaf_hash(&payload)));
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_frame_body(&body, 13), None, "bit {bit}");
            body[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn no_flipped_bit_leaves_a_segment_header_valid() {
        let frontier = Frontier::from_peaks(u64::MAX, &[[7; 32]; 64]).unwrap();
        let header = SegmentHeader { number: 3, len: MIN_SEGMENT, frontier };
        let mut page = header.encode();
        assert_eq!(SegmentHeader::decode(&page).unwrap(), header);
        for bit in 0..page.len() * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            SegmentHeader::decode(&page).unwrap_err();
            page[bit / 8] ^= 1 << (bit % 8);
        }
        SegmentHeader::decode(&page[..PAGE - 1]).unwrap_err();
    }

    #[test]
    fn a_segment_has_one_name() {
        assert_eq!(parse_segment_name("log-00000012"), Some(12));
        for bad in ["log-12", "log-+0000012", "log-", "log-0000001x", "hashes-00"] {
            assert_eq!(parse_segment_name(bad), None);
        }
    }
}
