//! What is said about files and directories that would keep weir from serving.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    config::{Config, Flags, Problems, Sources},
    listener::Certificates,
};

/// A directory with a configuration file and what it names, gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    /// `NAME.pem` and `NAME.key`, valid for `names`.
    fn issue(&self, file: &str, names: &[&str]) -> &Self {
        let issued = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        self.write(&format!("{file}.pem"), &issued.cert.pem()).write(&format!("{file}.key"), &issued.signing_key.serialize_pem())
    }

    fn load(&self, config: &str) -> Result<Config, Problems> {
        self.write("weir.toml", config);
        let flags = Flags { data: Some(self.0.join("data")), ..Flags::default() };
        Config::load(&Sources { file: Some(self.0.join("weir.toml")), flags })
    }

    /// `line:column: key: …` of each problem.
    fn problems(&self, config: &str) -> Vec<String> {
        let problems = self.load(config).expect_err(config).to_string();
        let file = format!("{}:", self.0.join("weir.toml").display());
        problems.lines().map(|line| line.strip_prefix(&file).unwrap_or(line).to_owned()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn assert_said(said: &[String], wanted: &[(&str, &str)]) {
    let fits = |(line, (place, words)): (&String, &(&str, &str))| line.starts_with(place) && line.contains(words);
    assert!(said.len() == wanted.len() && said.iter().zip(wanted).all(fits), "wanted {wanted:?}\ngot {said:#?}");
}

#[test]
fn certificates_and_keys_are_read_and_held_against_each_other() {
    let place = Place::new();
    place
        .issue("a", &["a.example"])
        .issue("b", &["b.example"])
        .write("empty.pem", "")
        .write("torn.pem", "-----BEGIN CERTIFICATE-----\nMII\n");
    place.write("leaf.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let pair = |chain: &str, key: &str| format!("[[certificate]]\nchain = '{chain}'\nkey = '{key}'\n");
    let config = pair("no.pem", "empty.pem")
        + &pair("a.pem", "b.key")
        + &pair("empty.pem", "a.key")
        + &pair("torn.pem", "a.key")
        + &pair("leaf.pem", "a.key");
    assert_said(
        &place.problems(&config),
        &[
            ("2:9: certificate[0].chain: ", "no.pem: not readable as PEM: I/O error: No such file or directory"),
            ("3:7: certificate[0].key: ", "empty.pem: not readable as PEM: no items found; name a PEM file"),
            ("6:7: certificate[1].key: ", "not the key of"),
            ("8:9: certificate[2].chain: ", "holds no certificate; put the server's own certificate first"),
            ("11:9: certificate[3].chain: ", "not readable as PEM"),
            ("14:9: certificate[4].chain: ", "not one a server can show"),
        ],
    );
}

#[test]
fn files_of_authorities_and_tokens_are_read() {
    let place = Place::new();
    place.issue("a", &["a.example"]).write("empty.pem", "").write("short", "token\n");
    let config = "[origins]\nca_files = ['a.pem', 'empty.pem']\n[admin]\ntoken_file = 'short'\n\
                  [[upstream]]\nname = 'a'\nurl = 'https://x'\nca_file = 'a.key'\n";
    assert_said(
        &place.problems(config),
        &[
            ("2:12: origins.ca_files: ", "empty.pem: holds no certificate; name a PEM file of certificate authorities"),
            ("4:14: admin.token_file: ", "5 bytes; a token has between 16 and 512"),
            ("8:11: upstream[0].ca_file: ", "a.key: holds no certificate"),
        ],
    );
}

#[test]
fn logs_and_sockets_need_directories_that_exist() {
    let place = Place::new();
    fs::create_dir(place.0.join("logs")).unwrap();
    let config = "[log]\naccess = 'missing/access.log'\nfile = 'logs'\n[admin]\nsocket = 'run/weir.sock'\n";
    assert_said(
        &place.problems(config),
        &[
            ("2:10: log.access: ", "missing: No such file or directory"),
            ("3:8: log.file: ", "logs is a directory"),
            ("5:10: admin.socket: ", "run: No such file or directory"),
        ],
    );
    place.load("[log]\naccess = 'data/access.log'\nfile = 'logs/weir.log'\n[admin]\nsocket = 'data/weir.sock'\n").unwrap();
    assert!(!place.0.join("logs/weir.log").exists() && !place.0.join("data").exists(), "a check makes nothing");
}

#[test]
fn the_data_directory_can_be_made_and_leaves_room_to_store() {
    let place = Place::new();
    place.write("data", "a file");
    let said = place.problems("[store]\nreserve = '100000 TiB'\n");
    assert!(
        said.iter().any(|line| line.starts_with("command line: --data: ") && line.contains("data is no directory; name")),
        "{said:#?}"
    );
    assert!(said.iter().any(|line| line.starts_with("2:11: store.reserve: nothing could ever be stored")), "{said:#?}");
}

#[test]
fn addresses_of_this_machine_are_its_own_whatever_socket_they_name() {
    let place = Place::new();
    let Some(own) = crate::sys::addresses::own().unwrap().into_iter().find(|ip| !ip.is_loopback() && ip.is_ipv4()) else {
        return;
    };
    let config = format!("[[upstream]]\nname = 'a'\nurl = 'http://x'\naddress = '{own}:8080'\n");
    assert_said(&place.problems(&config), &[("4:11: upstream[0].address: ", "this is weir itself")]);
}

#[test]
fn a_file_that_is_not_there_is_a_problem_like_any_other() {
    let sources = Sources { file: Some(PathBuf::from("/nowhere/weir.toml")), flags: Flags::default() };
    let problems = Config::load(&sources).unwrap_err();
    assert_eq!((problems.0.len(), problems.0[0].place), (1, None));
}

#[test]
fn who_only_looks_where_things_are_needs_no_key() {
    let place = Place::new();
    place.write("weir.toml", "[admin]\nlisten = '127.0.0.1:9'\n[[certificate]]\nchain = 'no.pem'\nkey = 'no.key'\n");
    let sources = Sources { file: Some(place.0.join("weir.toml")), flags: Flags::default() };
    assert_eq!(Config::look(&sources).unwrap().admin.listen[0].port(), 9);
    assert!(Config::load(&sources).is_err());
}

#[test]
fn remarks_name_what_certificates_are_for_and_whom_a_parent_serves() {
    let place = Place::new();
    place.issue("a", &["weir.branch.example", "*.cdn.branch.example"]);
    let config = "[[certificate]]\nchain = 'a.pem'\nkey = 'a.key'\nnames = ['weir.branch.example', 'x.cdn.branch.example', 'y.example']\n\
                  [[upstream]]\nname = 'root'\nkind = 'parent'\nurl = 'http://x'\n\
                  [[upstream]]\nname = 'debian'\nkind = 'parent'\nurl = 'http://x'\nhosts = ['deb.debian.org']\n";
    let config = place.load(config).unwrap();
    let certificates = Certificates::load(&config.listener.certificates).unwrap().summaries();
    let remarks = config.remarks(&certificates);
    assert_eq!(remarks.len(), 3, "{remarks:#?}");
    assert!(remarks[0].contains("for weir.branch.example, x.cdn.branch.example, y.example; valid until "), "{remarks:#?}");
    assert!(remarks[1].contains("not valid for y.example"), "{remarks:#?}");
    assert!(remarks[2].starts_with("parent root has no hosts"), "{remarks:#?}");
    assert!(Path::new(&certificates[0].chain).is_absolute());
}

#[test]
fn a_wsus_server_over_plain_http_is_warned_about_unless_it_is_on_this_machine() {
    let of = |url: &str| {
        let flags = Flags { wsus: Some(url.into()), ..Flags::default() };
        Config::from_text("", &flags).unwrap().warnings()
    };
    let [warning] = &of("http://wsus.example.com:8530")[..] else { panic!("one warning") };
    assert!(warning.contains("http://wsus.example.com:8530") && warning.contains("https"), "{warning}");
    for good in ["https://wsus.example.com:8531", "http://127.0.0.1:8530", "http://localhost:8530"] {
        assert!(of(good).is_empty(), "{good}");
    }
}
