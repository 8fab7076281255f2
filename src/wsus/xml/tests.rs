use super::*;

/// What a tokenizer told of `bytes`, pushed in pieces of `piece`: elements as `{prefix}name`, text as it is.
fn told(form: Form, bytes: &[u8], piece: usize) -> Result<String, Malformed> {
    let (mut tokenizer, mut told) = (Tokenizer::new(form), Vec::new());
    for piece in bytes.chunks(piece) {
        tokenizer.push(piece, |event| {
            match event {
                Event::Open(open) => {
                    told.extend(format!("<{:?}:{}", open.namespace, open.name).bytes());
                    for (name, value) in open.attributes.iter().filter(|(name, _)| !name.starts_with("xmlns")) {
                        told.extend(format!(" {name}={}", tag::unescaped(value).unwrap()).bytes());
                    }
                    told.push(b'>');
                }
                Event::Text(text) => told.extend_from_slice(text),
                Event::Close => told.extend_from_slice(b"</>"),
            }
            Ok::<_, Malformed>(())
        })?;
    }
    tokenizer.finish()?;
    Ok(String::from_utf8(told).unwrap())
}

fn document(text: &str) -> Result<String, Malformed> {
    let whole = told(Form::Document, text.as_bytes(), text.len().max(1));
    for piece in 1..text.len().min(9) {
        assert_eq!(told(Form::Document, text.as_bytes(), piece), whole, "{text} in pieces of {piece}");
    }
    whole
}

#[test]
fn elements_text_and_references_are_told_in_order() {
    for (text, said) in [
        ("<a/>", "<None:a></>"),
        ("<a></a >", "<None:a></>"),
        ("\u{feff}<a>b</a>\r\n", "<None:a>b</>"),
        ("<?xml version=\"1.0\" encoding='UTF-8' standalone=\"yes\"?> <a>b</a>", "<None:a>b</>"),
        ("<a b='1' c = \"&lt;2&#62;\">&amp;&#x41;&quot;</a>", "<None:a b=1 c=<2>>&A\"</>"),
        ("<a b='>' c=\"'/>\"/>", "<None:a b=> c='/>></>"),
        ("<a><!-- <b> -- - ---->x<!----></a>", "<None:a>x</>"),
        ("<a><![CDATA[<b>&amp;]]]]><![CDATA[>]] ]>]]]></a>", "<None:a><b>&amp;]]>]] ]>]</>"),
        ("<ä.ö-1>ü</ä.ö-1>", "<None:ä.ö-1>ü</>"),
    ] {
        assert_eq!(document(text), Ok(said.to_owned()), "{text}");
    }
}

#[test]
fn names_are_told_by_namespace_not_by_prefix() {
    const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
    for (text, said) in [
        (format!("<s:a xmlns:s='{ENVELOPE}'><b/></s:a>"), "<Envelope:a><None:b></></>"),
        (format!("<a xmlns='{ENVELOPE}'><b xmlns=''/><c/></a>"), "<Envelope:a><None:b></><Envelope:c></></>"),
        (format!("<x xmlns:s='urn:x'><s:a xmlns:s='{ENVELOPE}'/><s:a/></x>"), "<None:x><Envelope:a></><Other:a></></>"),
        ("<a xmlns='http&#58;//www.microsoft.com/SoftwareDistribution'/>".into(), "<Distribution:a></>"),
    ] {
        assert_eq!(document(&text), Ok(said.to_owned()), "{text}");
    }
}

#[test]
fn what_soap_forbids_and_what_is_no_xml_is_refused() {
    for (text, error) in [
        ("<!DOCTYPE a><a/>", Malformed::Doctype),
        ("<a><!ENTITY b 'c'></a>", Malformed::Doctype),
        ("<!doctype a><a/>", Malformed::Doctype),
        ("<a>&b;</a>", Malformed::Entity),
        ("<a b='&c;'/>", Malformed::Entity),
        ("<a>&#0;</a>", Malformed::Entity),
        ("<a>&#xD800;</a>", Malformed::Entity),
        ("<a>&#x000000000000000041;</a>", Malformed::Entity),
        ("<a>&lt</a>", Malformed::Entity),
        ("<?php a?><a/>", Malformed::Instruction),
        ("<a><?b c?></a>", Malformed::Instruction),
        (" <?xml version='1.0'?><a/>", Malformed::Instruction),
        ("<?xml version='1.0' encoding='utf-7'?><a/>", Malformed::Encoding),
        ("<a><b></a></b>", Malformed::End),
        ("<a/></a>", Malformed::End),
        ("<a/><b/>", Malformed::Outside),
        ("a<b/>", Malformed::Outside),
        ("&#32;<b/>", Malformed::Outside),
        ("<![CDATA[ ]]><b/>", Malformed::Outside),
        ("<b/>a", Malformed::Outside),
        ("< a/>", Malformed::Tag),
        ("<1a/>", Malformed::Tag),
        ("<a:/>", Malformed::Tag),
        ("<a:b:c/>", Malformed::Tag),
        ("<a b/>", Malformed::Tag),
        ("<a b=c/>", Malformed::Tag),
        ("<a b='1'c='2'/>", Malformed::Tag),
        ("<a b='<'/>", Malformed::Tag),
        ("<a b='1' b='1'/>", Malformed::Attribute),
        ("<x:a/>", Malformed::Prefix),
        ("", Malformed::Truncated),
        (" ", Malformed::Truncated),
        ("<a>", Malformed::Truncated),
        ("<a/><", Malformed::Truncated),
        ("<a/><!-- ", Malformed::Truncated),
    ] {
        assert_eq!(document(text), Err(error), "{text}");
    }
    assert_eq!(told(Form::Document, b"<\xff/>", 1), Err(Malformed::Encoding));
    assert_eq!(told(Form::Document, b"\xff\xfe<\0a\0/\0>\0", 1), Err(Malformed::Outside));
}

#[test]
fn a_fragment_has_many_elements_and_its_prefixes_mean_nothing() {
    let read = |text: &str| told(Form::Fragment, text.as_bytes(), 3);
    assert_eq!(read("<a/><cbs:b/>\n"), Ok("<None:a></><Other:b></>".to_owned()));
    assert_eq!(read(""), Ok(String::new()));
    assert_eq!(read("<?xml version='1.0'?><a/>"), Err(Malformed::Instruction));
    assert_eq!(read("<!DOCTYPE a>"), Err(Malformed::Doctype));
}

#[test]
fn what_is_held_has_a_bound() {
    let deep = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(told(Form::Document, deep(DEPTH_MAX).as_bytes(), 1000).is_ok());
    assert_eq!(told(Form::Document, deep(DEPTH_MAX + 1).as_bytes(), 1000), Err(Malformed::Depth));
    let long = |len: usize| format!("<a b='{}'/>", "x".repeat(len));
    assert!(told(Form::Document, long(TAG_MAX - 10).as_bytes(), 1000).is_ok());
    assert_eq!(told(Form::Document, long(TAG_MAX).as_bytes(), 1000), Err(Malformed::Long));
    let bindings: String = (0..=BINDINGS_MAX / 2).map(|n| format!(" xmlns:n{n}=''")).collect();
    assert_eq!(told(Form::Document, format!("<a{bindings}><b{bindings}/></a>").as_bytes(), 1000), Err(Malformed::Prefix));
}

#[test]
fn text_of_any_length_is_told_without_being_held() {
    let mut tokenizer = Tokenizer::new(Form::Document);
    let mut told = 0_usize;
    let mut push = |bytes: &[u8]| {
        tokenizer.push(bytes, |event| {
            if let Event::Text(text) = event {
                told += text.len();
            }
            Ok::<_, Malformed>(())
        })
    };
    push(b"<a>").unwrap();
    for _ in 0..1000 {
        push(&b"&lt;0123456789".repeat(100)).unwrap();
    }
    push(b"</a>").unwrap();
    assert_eq!(told, 1000 * 100 * 11);
    assert_eq!(tokenizer.finish(), Ok(()));
    assert!(tokenizer.held.capacity() < 100 && tokenizer.names.capacity() < 100, "{tokenizer:?}");
}
