use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::*;

fn text(metrics: &Metrics) -> String {
    let mut out = Vec::new();
    metrics.encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn names_are_unique_and_follow_the_conventions() {
    let mut seen = BTreeSet::new();
    for Family { name, kind, .. } in FAMILIES {
        assert!(seen.insert(name), "{name} is declared twice");
        assert!(name.starts_with("weir_"), "{name}");
        assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}: counters, and only they, end in _total");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}: histograms are of seconds");
        let other_units = ["_ms", "_kb", "_mb", "_kib", "_mib", "_minutes", "_percent"];
        assert!(!other_units.iter().any(|unit| name.trim_end_matches("_total").ends_with(unit)), "{name}: base units only");
    }
}

#[test]
fn every_family_says_what_it_is_and_when_to_worry() {
    for Family { name, help, worry, .. } in FAMILIES {
        for sentence in [help, worry] {
            assert!(sentence.ends_with('.') && sentence.len() > 5, "{name}: {sentence:?} is no sentence");
        }
    }
}

#[test]
fn every_family_can_be_registered_and_is_shown_once_counted() {
    let metrics = Metrics::new();
    metrics.proxy.requests[(Door::Delivery, Class::Content, Verdict::Hit)].inc();
    metrics.proxy.refusals.inc("origin");
    metrics.upstream.named("wsus").received_bytes.add(7);
    let text = text(&metrics);
    assert!(text.contains(r#"weir_requests_total{class="content",door="delivery",verdict="hit"} 1"#), "{text}");
    assert!(text.contains(r#"weir_refusals_total{reason="origin"} 1"#), "{text}");
    assert!(text.contains(r#"weir_upstream_received_bytes_total{upstream="wsus"} 7"#), "{text}");
    assert!(text.contains("weir_store_used_bytes 0"), "gauges without labels are there from the start");
}

#[test]
fn each_combination_of_labels_has_a_place_of_its_own() {
    let mut seen = BTreeSet::new();
    for (at, &door) in Door::ALL.iter().enumerate() {
        assert_eq!(door.index(), at);
        for &class in Class::ALL {
            for &verdict in Verdict::ALL {
                let key = (door, class, verdict);
                assert!(seen.insert(key.position()));
                assert_eq!(<(Door, Class, Verdict)>::values(key.position()), [door.word(), class.word(), verdict.word()]);
            }
        }
    }
    assert_eq!(seen.last(), Some(&(<(Door, Class, Verdict)>::count() - 1)));
}

#[test]
fn label_words_are_unique_within_their_label() {
    fn check<L: Label>() {
        assert_eq!(L::WORDS.iter().collect::<BTreeSet<_>>().len(), L::WORDS.len(), "{}", L::NAME);
    }
    check::<Door>();
    check::<Class>();
    check::<Verdict>();
    check::<Source>();
    check::<StatusClass>();
    check::<Purpose>();
    check::<Queue>();
    check::<ReloadOutcome>();
}

#[test]
fn many_combinations_are_shown_only_when_they_occur_but_few_always() {
    let metrics = Metrics::new();
    assert_eq!(metrics.proxy.requests.iter().count(), 0);
    assert_eq!(metrics.cache.upstream_bytes.iter().count(), Purpose::ALL.len());
    metrics.proxy.requests[(Door::Wsus, Class::Pass, Verdict::Bypass)].add(2);
    let shown: Vec<_> = metrics.proxy.requests.iter().map(|(labels, count)| (labels, count.value())).collect();
    assert_eq!(shown, [(vec!["wsus", "pass", "bypass"], 2)]);
}

#[test]
fn clones_count_together() {
    let metrics = Metrics::new();
    let other = metrics.clone();
    metrics.cache.fills_started.inc();
    other.cache.fills_started.add(2);
    assert_eq!(metrics.cache.fills_started.value(), 3);
    other.proxy.errors.inc("stalled");
    assert_eq!(metrics.proxy.errors.all(), [("stalled".to_owned(), 1)]);
}

#[test]
fn names_of_upstreams_are_bounded() {
    let metrics = Metrics::new();
    for index in 0..PEERS_MAX + 10 {
        metrics.upstream.named(&format!("upstream-{index}")).connects.inc();
    }
    assert_eq!(metrics.upstream.named("upstream-0").connects.value(), 1, "the same name has the same handles");
    assert_eq!(metrics.upstream.named(OTHER).connects.value(), 10);
    assert!(!text(&metrics).contains(&format!("upstream-{PEERS_MAX}\"")));
}

#[test]
fn a_held_gauge_falls_when_its_holder_is_dropped() {
    let listener = Listener::default();
    let held = listener.connections.hold();
    assert_eq!(listener.connections.value(), 1);
    drop(held);
    assert_eq!(listener.connections.value(), 0);
}

#[test]
fn a_gauge_shows_the_largest_number_instead_of_wrapping() {
    let store = Store::default();
    store.used_bytes.set(u64::MAX);
    assert_eq!(store.used_bytes.value(), i64::MAX);
}

#[test]
fn durations_are_observed_in_seconds() {
    let metrics = Metrics::new();
    metrics.store.commit_seconds.observe(Duration::from_millis(30));
    let text = text(&metrics);
    assert!(text.contains("weir_store_commit_seconds_sum 0.03"), "{text}");
    assert!(text.contains(r#"weir_store_commit_seconds_bucket{le="0.025"} 0"#), "{text}");
    assert!(text.contains(r#"weir_store_commit_seconds_bucket{le="0.05"} 1"#), "{text}");
}

#[test]
fn any_status_has_a_class() {
    let classes = [100, 204, 206, 304, 416, 503, 599, 999, 0].map(|status| StatusClass::of(status).word());
    assert_eq!(classes, ["1xx", "2xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx", "5xx"]);
}

/// Everything in `text` that looks like a metric of ours.
fn named_metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').filter(|word| word.starts_with("weir_")).collect()
}

fn is_series(name: &str) -> bool {
    FAMILIES.iter().any(|family| match family.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
        Kind::Counter | Kind::Gauge => name == family.name,
    })
}

#[test]
fn every_metric_in_the_dashboards_and_alerts_exists() {
    let mut used = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let names = named_metrics(&text);
        let unknown: Vec<_> = names.iter().filter(|name| !is_series(name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
        used.extend(names.into_iter().map(str::to_owned));
    }
    assert!(used.len() > 20, "{used:?}");
}

#[test]
fn every_panel_takes_its_data_from_the_chosen_source_and_says_what_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/weir.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
}
