//! Messages of update services: how they arrive in pieces, then their bytes, read as XML, as a fragment, as a reply and as a request, and judged as
//! calls.

use http::{HeaderName, HeaderValue};
use weir::wsus::{
    Call, Coding, Fact, Opened, Reply, Request, Said, Unreadable,
    xml::{Event, Form, Malformed, Tokenizer},
};

use super::number;

pub fn soap(data: &[u8]) {
    let (pieces, bytes) = number(data);
    let lens = || (0..64).cycle().map(|shift| (pieces.rotate_left(shift) % 24) as usize + 1);
    for form in [Form::Document, Form::Fragment] {
        assert_eq!(told(form, bytes, lens()), told(form, bytes, std::iter::repeat(usize::MAX)));
    }
    let coding = if pieces & 1 == 0 { Coding::Identity } else { Coding::Xpress };
    assert_eq!(facts(coding, bytes, lens()), facts(coding, bytes, std::iter::repeat(usize::MAX)));
    assert_eq!(said(coding, bytes, lens()), said(coding, bytes, std::iter::repeat(usize::MAX)));
    judged(coding, bytes);
}

/// What a call is passed on as is acceptable as it stands, and has an end.
fn judged(coding: Coding, bytes: &[u8]) {
    for (path, action) in CALLS {
        let call = |coded: bool| {
            let fields = [("soapaction", *action), ("content-type", "text/xml"), ("content-encoding", "xpress")];
            let fields = fields.into_iter().take(2 + usize::from(coded));
            let fields = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            Call::announced(path, None, &fields.collect(), Opened::default()).expect("an agent sends such a head")
        };
        if let Ok(plain) = call(coding == Coding::Xpress).check(bytes) {
            assert_eq!(call(false).check(&plain).as_deref(), Ok(&*plain));
            assert!(told(Form::Document, &plain, std::iter::repeat(usize::MAX)).is_ok());
        }
    }
}

/// Paths in lower case, and actions.
const CALLS: &[(&str, &str)] = &[
    ("/clientwebservice/client.asmx", "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService/GetCookie"),
    ("/reportingwebservice/reportingwebservice.asmx", "http://www.microsoft.com/SoftwareDistribution/ReportEventBatch"),
];

fn split(mut bytes: &[u8], lens: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    lens.map_while(move |len| {
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Names and text in their order. What was told before an error depends on how the bytes came, and nobody uses it.
fn told(form: Form, bytes: &[u8], lens: impl Iterator<Item = usize>) -> Result<Vec<u8>, Malformed> {
    let (mut tokenizer, mut told, mut depth) = (Tokenizer::new(form), Vec::new(), 0_usize);
    for piece in split(bytes, lens) {
        tokenizer.push(piece, |event| {
            match event {
                Event::Open(open) => {
                    depth += 1;
                    told.push(b'<');
                    told.extend_from_slice(open.name.as_bytes());
                }
                Event::Text(text) => {
                    assert!(depth > 0, "text stands in elements");
                    told.extend_from_slice(text);
                }
                Event::Close => {
                    depth = depth.checked_sub(1).expect("only what is open closes");
                    told.push(b'>');
                }
            }
            Ok::<_, Malformed>(())
        })?;
    }
    tokenizer.finish()?;
    assert_eq!(depth, 0, "a whole document has no open element");
    Ok(told)
}

fn facts(coding: Coding, bytes: &[u8], lens: impl Iterator<Item = usize>) -> Result<Vec<Fact>, Unreadable> {
    let (mut reply, mut facts) = (Reply::new(coding), Vec::new());
    for piece in split(bytes, lens) {
        reply.push(piece, |fact| facts.push(fact))?;
    }
    reply.finish().map(|()| facts)
}

fn said(coding: Coding, bytes: &[u8], lens: impl Iterator<Item = usize>) -> Result<Vec<Said>, Unreadable> {
    let (mut request, mut said) = (Request::new(coding), Vec::new());
    for piece in split(bytes, lens) {
        request.push(piece, |one| said.push(one))?;
    }
    request.finish().map(|()| said)
}
