//! The command line: what it checks, and what it says.

use std::{fs, process::Output};

use crate::support::{Scratch, weir_command};

fn check(config: &str) -> (Output, String) {
    let scratch = Scratch::new();
    let path = scratch.join("weir.toml");
    fs::write(&path, config).unwrap();
    let output = weir_command().arg("check").arg("--config").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, said)
}

#[test]
fn check_is_content_with_a_good_configuration() {
    let (output, said) =
        check("[store]\nsize = \"10 GiB\"\n\n[[upstream]]\nname = \"cdn\"\nurl = \"http://cdn.test\"\nhosts = [\"cdn.test\"]\n");
    assert!(output.status.success(), "{said}");
}

#[test]
fn check_lists_every_problem_at_once_with_line_and_column() {
    let config = "[store]\nsize = \"many\"\ncolour = \"blue\"\n\n[[upstream]]\nname = \"cdn\"\nurl = \"not a url\"\n\n[[listen]]\naddress = \"nowhere\"\n";
    let (output, said) = check(config);
    assert!(!output.status.success());
    for (place, word) in [("2:", "size"), ("3:", "colour"), ("7:", "url"), ("10:", "address")] {
        let named = said.lines().any(|line| line.contains(&format!("weir.toml:{place}")) && line.contains(word));
        assert!(named, "{word} at line {place} in:\n{said}");
    }
}

#[test]
fn check_reports_a_syntax_error_with_its_place() {
    let (output, said) = check("[store\nsize = 1\n");
    assert!(!output.status.success());
    assert!(said.contains("weir.toml:1:"), "{said}");
}

#[test]
fn a_bad_configuration_stops_the_start_before_anything_is_made() {
    let scratch = Scratch::new();
    let (config, data) = (scratch.join("weir.toml"), scratch.join("data"));
    fs::write(&config, "[store]\nsize = \"many\"\n").unwrap();
    let output = weir_command().arg("serve").arg("--config").arg(&config).arg("--data").arg(&data).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("weir.toml:2:"), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!data.exists());
}

#[test]
fn what_would_keep_weir_from_serving_is_found_by_check_and_both_exit_alike() {
    let scratch = Scratch::new();
    let issued = rcgen::generate_simple_self_signed(["weir.branch".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["other.branch".to_owned()]).unwrap();
    fs::write(scratch.join("weir.pem"), issued.cert.pem()).unwrap();
    fs::write(scratch.join("other.key"), other.signing_key.serialize_pem()).unwrap();
    fs::write(scratch.join("short"), "secret").unwrap();
    let config = "[[certificate]]\nchain = \"weir.pem\"\nkey = \"other.key\"\n\n[origins]\nca_files = [\"short\"]\n\n\
                  [admin]\ntoken_file = \"short\"\n\n[limits]\nfields = 0\n\n[log]\naccess = \"missing/access.log\"\n";
    let (path, data) = (scratch.join("weir.toml"), scratch.join("data"));
    fs::write(&path, config).unwrap();
    for verb in ["check", "serve"] {
        let output = weir_command().arg(verb).arg("--config").arg(&path).arg("--data").arg(&data).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{verb}: {said}");
        let places = [
            "3:7: certificate[0].key",
            "6:12: origins.ca_files",
            "9:14: admin.token_file",
            "12:10: limits.fields",
            "15:10: log.access",
        ];
        assert!(places.iter().all(|place| said.contains(&format!("weir.toml:{place}: "))), "{verb}: {said}");
        assert_eq!(said.lines().count(), places.len(), "{verb}: {said}");
    }
    assert!(!data.exists());
}

#[test]
fn check_shows_what_certificates_are_for_and_until_when() {
    let scratch = Scratch::new();
    let issued = rcgen::generate_simple_self_signed(["weir.branch".to_owned(), "*.cdn.branch".to_owned()]).unwrap();
    fs::write(scratch.join("weir.pem"), issued.cert.pem()).unwrap();
    fs::write(scratch.join("weir.key"), issued.signing_key.serialize_pem()).unwrap();
    let path = scratch.join("weir.toml");
    fs::write(&path, "[[certificate]]\nchain = \"weir.pem\"\nkey = \"weir.key\"\n").unwrap();
    let output = weir_command().arg("check").arg("--config").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("weir.pem: for weir.branch, *.cdn.branch; valid until "), "{said}");
}

#[test]
fn help_and_version_say_what_there_is() {
    let help = weir_command().arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for verb in ["serve", "check", "status", "purge", "demo", "fsck"] {
        assert!(text.contains(verb), "{verb} in:\n{text}");
    }
    let version = weir_command().arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}
