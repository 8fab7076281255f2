//! `multipart/byteranges`: a line with the media type, then the body.

use http::HeaderValue;
use weir::{
    piece::ByteRange,
    semantics::multipart::{Multipart, PARTS_MAX, Part, parse},
};

pub fn multipart(data: &[u8]) {
    let line_end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..line_end], data.get(line_end + 1..).unwrap_or_default());
    let Ok(content_type) = HeaderValue::from_bytes(line) else { return };
    let Ok(parts) = parse(&content_type, body) else { return };
    lie_in(&parts, body);
    is_read_as_it_is_written(&parts, body);
}

/// Parts follow one another in the body, each as long as it says, and agree about the whole.
fn lie_in(parts: &[Part], body: &[u8]) {
    assert!((1..=PARTS_MAX).contains(&parts.len()));
    let mut end = 0;
    for part in parts {
        assert!(end < part.body.start && part.body.end <= body.len());
        assert_eq!(part.body.len() as u64, part.range.len());
        assert!(part.len.is_none_or(|len| part.range.end <= len));
        end = part.body.end;
    }
    let mut lengths = parts.iter().filter_map(|part| part.len);
    assert!(lengths.next().is_none_or(|len| lengths.all(|other| other == len)));
}

/// What weir writes of the same parts is as long as it promises, and is read as the same bytes.
fn is_read_as_it_is_written(parts: &[Part], body: &[u8]) {
    let ranges: Vec<ByteRange> = parts.iter().map(|part| part.range).collect();
    let Some(len) = parts[0].len.filter(|len| ranges.iter().all(|range| range.end <= *len)) else { return };
    let ours = Multipart::new(7, parts[0].content_type.as_ref(), len, ranges.clone());
    let mut written = Vec::new();
    for ((head, _), part) in ours.parts().zip(parts) {
        written.extend(head);
        written.extend(&body[part.body.clone()]);
    }
    written.extend(ours.tail());
    assert_eq!(written.len() as u64, ours.content_length());
    let read = parse(&ours.content_type(), &written).expect("what weir writes can be read");
    assert_eq!(read.iter().map(|part| part.range).collect::<Vec<_>>(), ranges);
    for (read, part) in read.iter().zip(parts) {
        assert_eq!(&written[read.body.clone()], &body[part.body.clone()]);
    }
}
