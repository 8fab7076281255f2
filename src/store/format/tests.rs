use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;
use crate::{
    key::{CacheKey, Scheme},
    object::{BlobId, ObjectMeta, Trust},
};

fn meta() -> ObjectMeta {
    let mut fields = HeaderMap::new();
    fields.append(header::ETAG, HeaderValue::from_static("\"x\""));
    fields.append(header::VIA, HeaderValue::from_static("1.1 a"));
    fields.append(header::VIA, HeaderValue::from_bytes(b"1.1 \xfc").unwrap());
    ObjectMeta {
        key: CacheKey::new(Scheme::Http, "h.example", "/a?b"),
        selecting: vec![(header::ACCEPT_ENCODING, Some(HeaderValue::from_static("gzip"))), (header::ACCEPT, None)],
        status: StatusCode::OK,
        fields,
        request_time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        response_time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001),
        blob: BlobId(77),
        len: Some(12),
        source: "h.example".into(),
        declared: Some(Digest::Sha1([3; 20])),
        trust: Trust::Verified(Digest::Sha256([4; 32])),
        invalidated: true,
    }
}

const HEAD: ObjectHead = ObjectHead { blob: BlobId(77), variant: 9, in_pack: false };

#[test]
fn a_response_comes_back_as_it_was_stored() {
    let row = object(b"key", HEAD, &meta());
    let ObjectRow::Whole(back) = object_of(b"key", &row).unwrap() else { panic!("no fields") };
    assert_eq!(format!("{back:?}"), format!("{:?}", meta()));
    assert_eq!(object_head(b"key", &row), Some(HEAD));
}

#[test]
fn a_response_in_a_pack_has_only_its_head_in_the_index_and_all_in_its_record() {
    let head = ObjectHead { in_pack: true, ..HEAD };
    let (row, record) = (object(b"key", head, &meta()), record(b"key", head, &[5; 32], &meta()));
    assert_eq!(object_head(b"key", &row), Some(head));
    assert!(matches!(object_of(b"key", &row), Some(ObjectRow::InPack)));
    let (back, sum) = record_of(b"key", &record).unwrap();
    assert_eq!((format!("{back:?}"), sum), (format!("{:?}", meta()), [5; 32]));
    assert!(record_of(b"yek", &record).is_none() && record_of(b"key", &object(b"key", HEAD, &meta())).is_none());
}

#[test]
fn a_row_with_any_flipped_bit_or_another_key_is_dropped() {
    let row = object(b"key", HEAD, &meta());
    assert!(object_of(b"yek", &row).is_none());
    for at in 0..row.len() {
        let mut rotten = row.clone();
        rotten[at] ^= 1 << (at % 8);
        assert!(object_of(b"key", &rotten).is_none() && object_head(b"key", &rotten).is_none(), "byte {at}");
        assert!(object_of(b"key", &row[..at]).is_none(), "cut at {at}");
    }
}

#[test]
fn a_row_that_is_sealed_but_nonsense_is_dropped_without_a_panic() {
    for len in 0..64 {
        let nonsense = Encoder(vec![VERSION; len]).seal(b"key");
        assert!(!matches!(object_of(b"key", &nonsense), Some(ObjectRow::Whole(_))) && record_of(b"key", &nonsense).is_none());
        assert!(blob_of(u64::from_le_bytes(*b"key.....").to_le(), &nonsense).is_none());
    }
}

#[test]
fn blobs_and_piece_rows_come_back_as_they_were_stored() {
    let row = BlobRow {
        volume: 3,
        len: Some(5),
        present: 4,
        complete: false,
        pinned: true,
        content: Some([6; 32]),
        verified: vec![Digest::Sha1([1; 20]), Digest::Sha256([2; 32])],
    };
    assert_eq!(blob_of(9, &blob(9, &row)), Some(row.clone()));
    assert_eq!(blob_of(8, &blob(9, &row)), None);
    let start = 2 * PIECES_PER_ROW * PIECE_LEN + 17;
    let run = Run { range: ByteRange::new(start, start + 9).unwrap(), sum: [7; 32], durable: true, checked: false };
    assert_eq!(pieces_of(9, 2, &pieces(9, 2, [run.clone()].iter())), Some(vec![run]));
}
