//! What the census keeps, and when it forgets.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Census, Config, Personal};
use crate::{
    metrics::Metrics,
    wsus::{Build, Computer, Event, Guid, Identity, Said},
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7));

fn census(config: Config) -> (Census, Metrics) {
    let metrics = Metrics::new();
    (Census::new(config, metrics.census.clone()), metrics)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn computer(id: u128, name: &str) -> Said {
    let os = Some(Build { major: 10, minor: 0, build: 22_631 });
    let os_description = Some("Windows 10 Pro".into());
    Said::Computer(Box::new(Computer {
        id: Some(Guid(id)),
        dns_name: Some(name.into()),
        os,
        os_description,
        ..Computer::default()
    }))
}

fn event(computer: u128, instance: u128, number: u32, result: i32) -> Said {
    Said::Event(Box::new(Event {
        computer: Some(Guid(computer)),
        instance: Some(Guid(instance)),
        namespace: 1,
        number,
        result,
        update: Some(Identity { id: Guid(7), revision: 201 }),
        details: vec!["B=1048576".into()],
        ..Event::default()
    }))
}

#[test]
fn a_computer_is_described_by_its_calls_and_counted_by_its_reports() {
    let (census, metrics) = census(Config::default());
    census.note(HERE, &computer(1, "pc1.branch.example"), at(0));
    for (instance, number, result) in [(1, 162, 0), (2, 161, -2_145_123_272), (3, 184, 0), (4, 183, 0), (5, 195, -1)] {
        census.note(HERE, &event(1, instance, number, result), at(10));
    }
    let [seen] = &census.computers(10)[..] else { panic!("one computer") };
    assert_eq!(seen.name.as_deref(), Some("pc1.branch.example"));
    assert_eq!(
        (seen.os.as_deref(), seen.build.as_deref()),
        (Some("Windows 11"), Some("10.0.22631")),
        "by its build, not by its word"
    );
    assert_eq!(seen.address.as_deref(), Some("10.20.0.7"));
    assert_eq!((seen.downloads, seen.downloaded_bytes, seen.downloads_failed), (1, 1 << 20, 1));
    assert_eq!((seen.installs, seen.installs_failed, seen.restart_needed), (1, 1, false));
    assert_eq!(seen.last_seen - seen.first_seen, 10);
    let failed = census.events(10).into_iter().find(|event| event.number == 161).unwrap();
    assert_eq!((failed.error.as_deref(), failed.revision), (Some("0x80240438"), Some(201)));
    assert_eq!((metrics.census.computers.value(), metrics.census.events.value("downloaded")), (1, 1));
}

#[test]
fn an_event_that_is_reported_twice_counts_once() {
    let (census, _) = census(Config::default());
    census.note(HERE, &event(1, 1, 162, 0), at(0));
    census.note(HERE, &event(1, 1, 162, 0), at(1));
    assert_eq!((census.events(10).len(), census.computers(10)[0].downloads), (1, 1));
}

#[test]
fn the_lists_are_bounded_and_the_silent_and_the_old_give_way() {
    let (census, _) = census(Config { computers_max: 2, events_max: 3, ..Config::default() });
    for id in 1..=3 {
        census.note(HERE, &computer(id, "pc"), at(id as u64));
    }
    census.note(HERE, &computer(2, "pc"), at(4));
    census.note(HERE, &computer(4, "pc"), at(5));
    let ids: Vec<_> = census.computers(10).into_iter().map(|seen| seen.id).collect();
    assert_eq!(ids, [Guid(4).to_string().into(), Guid(2).to_string().into_boxed_str()]);
    for instance in 1..=5 {
        census.note(HERE, &event(2, instance, 162, 0), at(6));
    }
    assert_eq!(census.events(10).len(), 3);
    // Its event is forgotten: it is news again.
    census.note(HERE, &event(2, 1, 162, 0), at(7));
    assert_eq!(census.computers(1)[0].downloads, 6);
}

#[test]
fn what_is_older_than_the_retention_is_forgotten() {
    let (census, metrics) = census(Config { retention: Duration::from_secs(60), ..Config::default() });
    census.note(HERE, &event(1, 1, 162, 0), at(0));
    census.note(HERE, &computer(2, "pc2"), at(61));
    let names: Vec<_> = census.computers(10).into_iter().map(|seen| seen.name).collect();
    assert_eq!((names, census.events(10).len()), (vec![Some("pc2".into())], 0));
    assert_eq!(metrics.census.computers.value(), 1);
}

#[test]
fn one_address_that_makes_up_computers_does_not_drive_out_the_others() {
    let (census, metrics) = census(Config { computers_max: 300, ..Config::default() });
    for id in 1..=20 {
        census.note(HERE, &computer(id, "honest"), at(0));
    }
    let hostile = IpAddr::from([10, 20, 0, 66]);
    for id in 1_000..3_000 {
        census.note(hostile, &computer(id, "made-up"), at(1));
    }
    let honest = census.computers(1_000).into_iter().filter(|seen| seen.name.as_deref() == Some("honest")).count();
    assert_eq!((honest, metrics.census.ignored.value()), (20, 2_000 - 256));
}

#[test]
fn pseudonyms_tell_computers_apart_and_not_who_they_are() {
    for personal in [Personal::Hash, Personal::Off] {
        let (census, _) = census(Config { personal, ..Config::default() });
        for id in [1, 2, 1] {
            census.note(HERE, &computer(id, "pc1.branch.example"), at(id as u64));
        }
        census.note(HERE, &event(1, 1, 162, 0), at(9));
        let text = format!("{:?} {:?}", census.computers(10), census.events(10));
        assert!(!text.contains("pc1") && !text.contains("10.20.0.7") && !text.contains(&Guid(1).to_string()), "{text}");
        assert_eq!(census.computers(10).len(), 2);
        assert_eq!(census.events(1)[0].computer.as_deref(), Some(&*census.computers(1)[0].id));
        assert_eq!(census.computers(1)[0].name.is_some(), personal == Personal::Hash);
    }
}

#[test]
fn a_nil_id_names_nobody() {
    let (census, _) = census(Config::default());
    census.note(HERE, &computer(0, "nobody"), at(0));
    census.note(HERE, &event(0, 1, 162, 0), at(0));
    assert_eq!((census.computers(10).len(), census.events(10).len(), census.events(1)[0].computer.clone()), (0, 1, None));
}
