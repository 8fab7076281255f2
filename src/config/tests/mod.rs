//! What a configuration says, and what is said about a bad one.

mod machine;
mod problems;

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
    assert!(seen >= 8, "{seen} examples");
}

#[test]
fn the_documented_defaults_are_the_ones_built_in() {
    let (documented, built_in) = (good(&example("weir.toml"), &Flags::default()), good("", &Flags::default()));
    assert_eq!(format!("{documented:#?}"), format!("{built_in:#?}"));
}

#[test]
fn rates_of_clients_are_read_and_a_rate_of_nothing_is_refused() {
    let group = |rate: &str| {
        format!(
            "[limits]\nrate_per_connection = \"80 Mbit/s\"\n[[limits.group]]\nnetworks = [\"10.0.0.0/8\", \"::1\"]\nrate = \"{rate}\"\n"
        )
    };
    let limits = good(&group("20 MB/s"), &Flags::default()).listener.limits;
    assert_eq!((limits.connection_rate, limits.groups.len()), (Some(10_000_000), 1));
    assert_eq!((limits.groups[0].networks.len(), limits.groups[0].bytes_per_second), (2, 20_000_000));
    assert_eq!(bad(&group("0 MB/s"))[0].key, "limits.group[0].rate");
    assert_eq!(bad("[[limits.group]]\nrate = \"1 MB/s\"\n")[0].what, "networks is missing");
}

#[test]
fn every_key_is_documented() {
    let text = switched_on(&example("weir.toml")).replace("\"forward\"]", "\"forward\", \"wsus\", \"reverse\"]");
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
        let headers = ["[", "[[", "[origins.", "[upstream.", "[[limits."].map(|header| format!("{header}{key}]"));
        text.lines().any(|line| {
            line.starts_with(&format!("{key} = "))
                || headers.iter().any(|header| line.trim_end_matches(']') == header.trim_end_matches(']'))
        })
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
fn a_site_chooses_above_what_all_doors_choose() {
    let config = good(
        "[[upstream]]\nname = 'a'\nurl = 'http://a'\ndoor = 'reverse'\n[upstream.caching]\nheuristic_percent = 20\nstale_on_error = true\n\
         ignore_parameters = 'utm_*'\n[[upstream]]\nname = 'b'\nurl = 'http://b'\ndoor = 'reverse'\npaths = ['/b/']\n\
         [caching]\nheuristic_percent = 0\nstale_on_error = false\nstale_max = '2 d'\nerrors = 'never'\nstale_max_mutable = '1 h'\n",
        &Flags::default(),
    );
    let [a, b] = &config.policy.sites[..] else { panic!("{:?}", config.policy.sites) };
    let all = config.policy.policies;
    assert_eq!((all.http.heuristic, all.http.stale_on_error), (None, false));
    assert_eq!((all.http.stale_max, all.mutable_stale_max), (Duration::from_secs(2 * 86_400), Duration::from_secs(3600)));
    assert_eq!((b.caching.policy, b.caching.ignored_parameters.len()), (all.http, 0));
    let guessed = a.caching.policy.heuristic.unwrap();
    assert_eq!((guessed.percent, guessed.max, a.caching.policy.stale_on_error), (20, Duration::from_secs(86_400), true));
    assert_eq!((a.caching.policy.stale_max, a.caching.policy.errors), (all.http.stale_max, all.http.errors));
    assert_eq!(a.caching.ignored_parameters[..], ["utm_*".into()]);
}

#[test]
fn logs_go_where_the_words_or_paths_say() {
    let log = |text: &str| good(&format!("[log]\n{text}"), &Flags::default()).log;
    assert_eq!(log("access = 'off'").access, Destination::Nowhere);
    assert_eq!(log("access = '/x/stdout'").access, Destination::File("/x/stdout".into()));
    assert_eq!(log("file = '/x/weir.log'\nformat = 'json'\nlevel = 'weir=debug'").file, Some("/x/weir.log".into()));
    assert_eq!(log("file = 'stderr'").file, None);
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
fn a_reload_says_what_waits_for_a_restart() {
    let old = good("", &Flags::default());
    let live = "[origins]\nallow = ['x.example']\n[fill]\nsegment = '4 MiB'\n[resolver]\nservers = '192.0.2.1'\n";
    assert!(old.needs_restart(&good(live, &Flags::default())).is_empty());
    let later = "[store]\nsize = '1 GiB'\n[[listen]]\naddress = '[::]:81'\n[limits]\nfills = 9\nhead = '9 KiB'\n[send]\nstrategy = 'map'\n";
    let waits = old.needs_restart(&good(later, &Flags::default()));
    assert_eq!(waits, ["listen", "limits (of clients)", "limits.fills, fill.parallel, fill.wait", "send", "store"]);
}
