use super::*;
use crate::wsus::Location;

const KEY: &str = "http://dl.delivery.mp.microsoft.com/filestreamingservice/files/7bc846e0";

fn catalog(entries_max: usize) -> Catalog {
    Catalog::open(Config { entries_max, path: None }, metrics::Catalog::default())
}

fn sha1(nth: u8) -> Digest {
    Digest::Sha1([nth; 20])
}

fn file(nth: u8, size: u64, sha256: u8) -> Fact {
    let file = File { name: "a.cab".into(), size: Some(size), sha1: Some(sha1(nth)), sha256: Some(Digest::Sha256([sha256; 32])) };
    Fact::File { number: Some(7), file }
}

fn location(nth: u8) -> Fact {
    Fact::Location(Location { digest: sha1(nth), url: "http://w/".into() })
}

fn title(number: i64, title: &str) -> Fact {
    let identity = Some(Identity { id: Guid(5), revision: 200 });
    Fact::Update { number: Some(number), update: Update { identity, title: Some(title.into()), ..Update::default() } }
}

#[test]
fn a_place_has_the_best_digest_that_is_known_of_its_file() {
    let catalog = catalog(100);
    assert_eq!(catalog.expected(KEY, None).digest, None);
    assert_eq!(catalog.expected("http://w/Content/01", Some(sha1(1))).digest, Some(sha1(1)), "what a name says is known anyway");
    catalog.learn("wsus", &location(1), Some(KEY));
    assert_eq!(catalog.expected(KEY, None).digest, Some(sha1(1)));
    catalog.learn("wsus", &file(1, 10, 2), None);
    assert_eq!(catalog.expected(KEY, None).digest, Some(Digest::Sha256([2; 32])));
    assert_eq!(catalog.expected("http://w/Content/01", Some(sha1(1))).digest, Some(Digest::Sha256([2; 32])));
    assert_eq!(catalog.expected(KEY, None).size, Some(10));
}

#[test]
fn upstreams_that_disagree_cancel_out() {
    for contradiction in [file(1, 11, 2), file(1, 10, 3)] {
        let catalog = catalog(100);
        catalog.learn("one", &file(1, 10, 2), None);
        catalog.learn("two", &file(1, 10, 2), None);
        assert!(catalog.file(&sha1(1)).is_some(), "they agree");
        catalog.learn("three", &contradiction, None);
        assert_eq!(catalog.file(&sha1(1)), None, "{contradiction:?}");
        assert_eq!(catalog.expected("x", Some(sha1(1))).digest, Some(sha1(1)), "what the name says stays");
    }
    let catalog = catalog(100);
    catalog.learn("one", &location(1), Some(KEY));
    catalog.learn("two", &location(2), Some(KEY));
    assert_eq!(catalog.expected(KEY, None).digest, None);
}

#[test]
fn two_files_with_one_content_cancel_out() {
    for other in ["one", "two"] {
        let catalog = catalog(100);
        catalog.learn("one", &file(1, 10, 2), None);
        catalog.learn(other, &file(3, 10, 2), None);
        assert_eq!(catalog.expected("x", Some(sha1(3))).digest, Some(sha1(3)), "{other} gives no file the content of another");
        assert_eq!(catalog.expected("x", Some(sha1(1))).digest, Some(sha1(1)), "nobody knows who is right");
    }
}

#[test]
fn an_upstream_that_contradicts_itself_is_not_believed_again() {
    let catalog = catalog(100);
    for fact in [file(1, 10, 2), file(1, 10, 3), file(1, 10, 2)] {
        catalog.learn("one", &fact, None);
    }
    assert_eq!(catalog.file(&sha1(1)), None);
}

#[test]
fn what_came_first_is_forgotten_when_it_is_full() {
    let catalog = catalog(100);
    for nth in 0..=250 {
        catalog.learn("wsus", &file(nth, 10, 2), None);
        assert!(catalog.known().files.entries.len() <= 100);
    }
    assert!(catalog.file(&sha1(250)).is_some() && catalog.file(&sha1(0)).is_none());
}

#[test]
fn fragments_of_one_update_add_up() {
    let catalog = catalog(100);
    catalog.learn("wsus", &file(1, 10, 2), None);
    assert_eq!(catalog.updates(10), [], "without a title it says nothing to anybody");
    catalog.learn("wsus", &title(7, "An update"), None);
    catalog.learn("wsus", &title(7, "Ein Update"), None);
    catalog.learn("other", &title(7, "Another server's number"), None);
    let updates = catalog.updates(10);
    assert_eq!(updates.len(), 2);
    let own = updates.iter().find(|update| update.title.as_deref() == Some("An update")).unwrap();
    assert_eq!(own.files, [sha1(1)]);
    assert!(catalog.titles(&[Guid(5)].into()).contains_key(&Guid(5)));
}

#[test]
fn what_is_known_outlives_the_process_as_far_as_it_can_be_read() {
    let path = std::env::temp_dir().join(format!("weir-catalog-{}", std::process::id()));
    let open = || Catalog::open(Config { entries_max: 100, path: Some(path.clone()) }, metrics::Catalog::default());
    let catalog = open();
    catalog.learn("wsus", &file(1, 10, 2), None);
    catalog.learn("wsus", &location(1), Some(KEY));
    catalog.learn("wsus", &title(7, "An \"update\"\n"), None);
    catalog.keep();
    assert_eq!(open().expected(KEY, None).digest, Some(Digest::Sha256([2; 32])));
    assert_eq!(open().titles(&[Guid(5), Guid(6)].into()), [(Guid(5), "An \"update\"\n".into())].into());

    catalog.learn("wsus", &file(1, 11, 2), None);
    catalog.learn("wsus", &location(2), Some(KEY));
    catalog.keep();
    let again = open();
    again.learn("another", &file(1, 10, 2), None);
    again.learn("another", &location(1), Some(KEY));
    assert_eq!((again.file(&sha1(1)), again.expected(KEY, None).digest), (None, None), "a contradiction outlives it, too");

    let mut lines = std::fs::read(&path).unwrap();
    lines.splice(0..0, *b"{\"by\":7}\nnot JSON\n\xff\n");
    lines.truncate(lines.len() - 3);
    std::fs::write(&path, lines).unwrap();
    drop(open());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(open().updates(10), [], "nothing is no error");
}
