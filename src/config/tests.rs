//! What a configuration says, and what is said about a bad one.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{
    classify::{Door, SiteKind},
    proxy::log::Destination,
    upstream::{Kind, Resolver},
};

fn good(text: &str, flags: &Flags) -> Config {
    Config::from_text(text, flags).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn bad(text: &str) -> Vec<Problem> {
    Config::from_text(text, &Flags::default()).expect_err(text).0
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// An example with the entries switched on that stand behind a comment sign without a space.
fn switched_on(text: &str) -> String {
    let on = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    text.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_is_without_problems() {
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            good(&fs::read_to_string(&path).unwrap(), &Flags::default());
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen} examples");
}

#[test]
fn the_documented_defaults_are_the_ones_built_in() {
    let (documented, built_in) = (good(&example("weir.toml"), &Flags::default()), good("", &Flags::default()));
    assert_eq!(format!("{documented:#?}"), format!("{built_in:#?}"));
}

#[test]
fn every_key_is_documented() {
    let text = switched_on(&example("weir.toml")).replace("\"forward\"]", "\"forward\", \"wsus\"]");
    good(&text, &Flags::default());
    // What is known in a section, weir says itself when it meets something unknown.
    let mut unknown = String::from("zzzzzz = 1\n");
    for line in text.lines() {
        unknown += &format!("{line}\n");
        if line.starts_with('[') && !line.contains("aliases") && !line.contains("groups") {
            unknown += "zzzzzz = 1\n";
        }
    }
    let mut keys = BTreeSet::new();
    for problem in bad(&unknown) {
        let known = problem.remedy.strip_prefix("known here: ").unwrap_or_else(|| panic!("{problem}"));
        keys.extend(known.split(", ").map(str::to_owned));
    }
    assert!(keys.len() > 70, "{keys:?}");
    let is_documented = |key: &&String| {
        let headers = [format!("[{key}]"), format!("[[{key}]]"), format!("[origins.{key}]")];
        text.lines().any(|line| line.starts_with(&format!("{key} = ")) || headers.iter().any(|header| line == header))
    };
    let missing: Vec<_> = keys.iter().filter(|key| !is_documented(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn without_a_file_the_standard_doors_are_open_on_all_addresses() {
    let config = good("", &Flags::default());
    let socket = &config.listener.sockets[0];
    assert_eq!((socket.address.to_string().as_str(), &*socket.doors), ("[::]:8080", &Door::STANDARD[..]));
    assert!(config.policy.builtin && !socket.tls);
    assert_eq!(config.store.directory, Path::new("weir-data"));
    assert_eq!(config.admin.listen, ["127.0.0.1:8081".parse().unwrap()]);
    assert_eq!(config.admin.socket.as_deref(), Some(Path::new("weir-data/admin.sock")));
}

#[test]
fn flags_stand_above_the_file() {
    let file = "[[listen]]\naddress = '127.0.0.1:1'\n[store]\nsize = '1 GiB'\ndirectory = '/a'\n\
                [admin]\nlisten = '127.0.0.1:2'\n[resolver]\nservers = ['192.0.2.1']\n";
    let flags = Flags {
        reverse: Some("http://intranet.example:81/base/".to_owned()),
        wsus: Some("https://wsus.example".to_owned()),
        listen: vec!["[::1]:0".to_owned(), "127.0.0.1:0".to_owned()],
        admin: Some("127.0.0.1:0".to_owned()),
        data: Some("/b".into()),
        size: Some("2 GiB".to_owned()),
        resolver: vec!["192.0.2.2:5353".to_owned()],
        allow: vec!["*.example.org".to_owned(), "lab.test:8080=127.0.0.1:9".to_owned()],
    };
    let config = good(file, &flags);
    let sockets: Vec<_> = config.listener.sockets.iter().map(|socket| (socket.address.port(), socket.doors.len())).collect();
    assert_eq!(sockets, [(0, 5), (0, 5)], "all five doors lead somewhere");
    assert_eq!((config.store.size, config.store.object_max), (2 << 30, 2 << 30));
    assert_eq!(config.store.directory, Path::new("/b"));
    assert_eq!(config.admin.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.upstream.resolver, Resolver::Servers(vec!["192.0.2.2:5353".parse().unwrap()]));
    assert_eq!(config.policy.allow.len(), 1);
    let [reverse, wsus, lab] = &config.policy.sites[..] else { panic!("{:?}", config.policy.sites) };
    assert!(reverse.catch_all && !wsus.catch_all);
    assert!(matches!(&reverse.kind, SiteKind::Reverse { origin, base } if origin.port == 81 && &**base == "/base"));
    assert!(matches!(&wsus.kind, SiteKind::Wsus { origin, .. } if origin.to_string() == "https://wsus.example"));
    assert_eq!((&lab.kind, lab.hosts[0].port), (&SiteKind::Origin, Some(8080)));
    assert_eq!(config.upstream.upstreams[2].address, Some("127.0.0.1:9".parse().unwrap()));
}

#[test]
fn an_upstream_makes_a_definition_and_for_clients_a_site() {
    let config = good(
        "[[listen]]\naddress = '[::]:80'\n\
         [[upstream]]\nname = 'mirror'\nurl = 'http://mirror.corp/debian/'\ndoor = 'reverse'\npaths = ['/pool']\npass = ['/pool/api']\n\
         [[upstream]]\nname = 'cdn'\nurl = 'https://cdn.corp:444'\nhosts = ['*.cdn.test', 'cdn.test:8080']\naddress = '10.0.0.1:444'\n\
         rate = '8 Mbit/s'\nconnections = 3\n\
         [[upstream]]\nname = 'root'\nkind = 'parent'\nurl = 'http://10.0.0.2:8080'\nonly_parents = true\norder = 7\n",
        &Flags::default(),
    );
    let [mirror, cdn] = &config.policy.sites[..] else { panic!("{:?}", config.policy.sites) };
    assert_eq!((mirror.paths.len(), mirror.pass.len(), mirror.catch_all), (1, 1, false));
    assert_eq!(cdn.hosts.len(), 2);
    let [_, cdn, root] = &config.upstream.upstreams[..] else { panic!("{:?}", config.upstream.upstreams) };
    assert_eq!((cdn.bytes_per_second, cdn.connections.map(|c| (c.content, c.pass))), (Some(1_000_000), Some((3, 64))));
    assert_eq!(cdn.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["*.cdn.test", "cdn.test:8080"]);
    assert_eq!((root.kind, root.only_parents, root.order, root.hosts.len()), (Kind::Parent, true, 7, 0));
    let doors = config.listener.sockets[0].doors.iter().copied();
    assert!(doors.eq([Door::Reverse, Door::Delivery, Door::Transparent, Door::Forward]), "doors of sites open by themselves");
}

#[test]
fn logs_go_where_the_words_or_paths_say() {
    let log = |text: &str| good(&format!("[log]\n{text}"), &Flags::default()).log;
    assert_eq!(log("access = 'off'").access, Destination::Nowhere);
    assert_eq!(log("access = '/x/stdout'").access, Destination::File("/x/stdout".into()));
    assert_eq!(log("file = '/x/weir.log'\nformat = 'json'\nlevel = 'weir=debug'").file, Some("/x/weir.log".into()));
    assert_eq!(log("file = 'stderr'").file, None);
}

/// Each row: a text, then for each of its problems line:column and words that the line about it has.
#[rustfmt::skip]
const PROBLEMS: &[(&str, &[(&str, &str)])] = &[
    ("[store\n", &[("1:7", "not TOML")]),
    ("colour = 1\n", &[("1:1", "unknown key; known here: names")]),
    ("[stor]\n", &[("1:2", "stor: unknown key; did you mean store?")]),
    ("[store]\nsizes = '1 GiB'\nreserv = 1\n", &[("2:1", "did you mean size?"), ("3:1", "did you mean reserve?")]),
    ("[store]\nsize = 100\n", &[("2:8", "this is a number; write a number and a unit")]),
    ("[store]\nsize = '100 G'\n", &[("2:8", "unknown unit \"G\"")]),
    ("[store]\nsize = '1 GiB'\nobject_max = '2 GiB'\n", &[("3:14", "larger than the whole store")]),
    ("[store]\ndisk_threads = 0\n", &[("2:16", "write at least 1")]),
    ("[store]\ndisk_threads = -1\n", &[("2:16", "-1 is out of range")]),
    ("store = 3\n", &[("1:9", "a value stands where a table belongs; write it as [store]")]),
    ("[store.size]\nx = 1\n", &[("1:1", "a table stands where a value belongs")]),
    ("[timeouts]\ndrain = '30'\n", &[("2:9", "no unit")]),
    ("[timeouts]\ndrain = true\n", &[("2:9", "this is true or false; write a number and a unit: ms")]),
    ("[[listen]]\n", &[("1:1", "listen[0]: address is missing")]),
    ("listen = 1\n", &[("1:10", "[[listen]]")]),
    ("[[listen]]\naddress = '80'\ndoors = ['deliver', 'forward', 'x']\n",
     &[("2:11", "no address with a port"), ("3:10", "did you mean \"delivery\"?"), ("3:32", "\"x\" is no door; the doors are")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = []\n", &[("1:1", "no door is open")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = ['wsus']\n", &[("1:1", "the wsus door leads nowhere")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = ['delivery']\ntls = true\n", &[("1:1", "TLS without a certificate")]),
    ("[[listen]]\naddress = '[::]:80'\n[[listen]]\naddress = '10.0.0.1:80'\n", &[("4:11", "taken already by [::]:80")]),
    ("[[listen]]\naddress = '0.0.0.0:80'\n[[listen]]\naddress = '127.0.0.1:80'\n", &[("4:11", "taken already")]),
    ("[[listen]]\naddress = '[::]:8081'\n", &[("2:11", "taken already by 127.0.0.1:8081")]),
    ("[admin]\nlisten = '[::1]:8080'\n", &[("2:10", "taken already")]),
    ("[admin]\nlisten = '[::]:9000'\n", &[("2:10", "nobody may use")]),
    ("[admin]\nscrape = ['10.0.0.0/40']\n", &[("2:11", "no network")]),
    ("[[certificate]]\nchain = 'a'\n", &[("1:1", "key is missing")]),
    ("[[upstream]]\n", &[("1:1", "name is missing"), ("1:1", "url is missing")]),
    ("[[upstream]]\nname = 'a'\nurl = 'ftp://x'\nkind = 'cousin'\n", &[("3:7", "scheme ftp"), ("4:8", "the kinds are origin and parent")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'forward'\n", &[("4:8", "nothing stands behind the forward door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nkind = 'parent'\ndoor = 'reverse'\n", &[("5:8", "a parent stands behind no door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x/base'\npaths = ['y']\n",
     &[("3:7", "a path in the URL"), ("4:9", "does not begin with a slash"), ("4:9", "paths means something only behind a door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\n[[upstream]]\nname = 'a'\nurl = 'http://y'\n", &[("5:8", "a second upstream is called \"a\"")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'reverse'\n[[upstream]]\nname = 'b'\nurl = 'http://y'\ndoor = 'reverse'\n",
     &[("6:8", "a second reverse upstream takes everything")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://127.0.0.1:8080'\ndoor = 'reverse'\n", &[("3:7", "this is weir itself")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'reverse'\n[[listen]]\naddress = '[::]:80'\ndoors = ['forward']\n",
     &[("4:8", "the reverse door is open on no socket")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nrate = '8 MB'\n", &[("4:8", "no unit per second")]),
    ("[origins]\nallow = ['deb.debian.org', '*.com', 'http://x', 'x:99999']\n",
     &[("2:28", "a pattern is a name"), ("2:37", "more than a host"), ("2:49", "is no port")]),
    ("[origins.aliases]\nx = 'deb.debian.org'\n'10.0.0.1' = '*.debian.org'\n", &[("2:1", "no address"), ("3:1", "one name")]),
    ("[origins.groups]\na = 1\n", &[("2:5", "this is a number")]),
    ("[resolver]\nservers = ['ns.example']\n", &[("2:12", "is no address")]),
    ("[fill]\nsegment = '1 kB'\nfinish_percent = 101\n", &[("2:11", "at least one piece"), ("3:18", "at most 100")]),
    ("[log]\nformat = 'xml'\nlevel = 'weir=loud'\n", &[("2:10", "no format"), ("3:9", "write error, warn")]),
];

#[test]
fn every_problem_is_reported_at_its_place_with_a_remedy() {
    let mut wrong = Vec::new();
    for (text, wanted) in PROBLEMS {
        let said: Vec<String> = bad(text).iter().map(Problem::to_string).collect();
        let fits = |(line, (place, words)): (&String, &(&str, &str))| {
            line.starts_with(&format!("configuration:{place}: ")) && line.contains(words) && line.contains("; ")
        };
        if said.len() != wanted.len() || !said.iter().zip(*wanted).all(fits) {
            wrong.push(format!("{text}wanted {wanted:?}\ngot {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn problems_of_flags_name_the_flag_and_all_are_said_with_those_of_the_file() {
    let flags = Flags {
        listen: vec!["80".to_owned(), "127.0.0.1:1".to_owned(), "127.0.0.1:1".to_owned()],
        size: Some("lots".to_owned()),
        allow: vec!["*.com".to_owned(), "x=y".to_owned()],
        wsus: Some("wsus".to_owned()),
        ..Flags::default()
    };
    let problems = Config::from_text("[store]\nx = 1\n", &flags).unwrap_err().0;
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys[0], "store.x");
    for key in ["--listen", "--size", "--allow", "--wsus"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    let twice = problems.iter().find(|problem| problem.what.contains("taken already")).unwrap();
    assert_eq!((twice.key.as_str(), twice.place), ("--listen", None));
}

#[test]
fn files_that_are_named_have_to_exist_when_a_configuration_is_loaded() {
    let directory = std::env::temp_dir().join(format!("weir-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("weir.toml");
    fs::write(&file, "[[certificate]]\nchain = 'no.pem'\nkey = 'weir.toml'\n").unwrap();
    let sources = Sources { file: Some(file.clone()), flags: Flags::default() };
    let problems = Config::load(&sources).unwrap_err().to_string();
    assert!(
        problems.contains("weir.toml:2:9: certificate[0].chain: ") && problems.contains("no.pem: No such file"),
        "{problems}"
    );
    assert_eq!(problems.lines().count(), 1, "relative paths start at the file's directory: {problems}");
    fs::remove_dir_all(&directory).unwrap();
    let problems = Config::load(&sources).unwrap_err();
    assert_eq!((problems.0.len(), problems.0[0].place), (1, None), "a file that is not there is a problem like any other");
}

#[test]
fn a_reload_says_what_waits_for_a_restart() {
    let old = good("", &Flags::default());
    let live = "[origins]\nallow = ['x.example']\n[fill]\nsegment = '4 MiB'\n[resolver]\nservers = '192.0.2.1'\n";
    assert!(old.needs_restart(&good(live, &Flags::default())).is_empty());
    let later = "[store]\nsize = '1 GiB'\n[[listen]]\naddress = '[::]:81'\n[limits]\nfills = 9\nhead = '9 KiB'\n";
    let waits = old.needs_restart(&good(later, &Flags::default()));
    assert_eq!(waits, ["listen", "limits (of clients)", "limits.fills, fill.parallel, fill.wait", "store"]);
}
