//! Files that are fetched before anybody asked for them.

use super::{
    agent,
    server::{HOST, Wsus},
};
use crate::support::{Content, Gate, MIB, Origin, Proxy, ProxyBuilder, Resource, eventually, proxy};

async fn reaches(weir: &Proxy, metric: &str, value: f64) {
    eventually(metric, || async { (weir.metric(metric, &[]).await >= value).then_some(()) }).await;
}

fn staging(terms: &str) -> ProxyBuilder {
    proxy().config(&format!("[prestage]\nenabled = true\nclients = 1\n{terms}"))
}

/// A computer asks for metadata, and all of it was read.
async fn look(weir: &Proxy) {
    agent::look(weir.doors()).await;
    reaches(weir, "weir_metadata_read_total", 5.0).await;
}

#[tokio::test]
async fn what_metadata_tells_of_is_here_when_it_is_asked_for() {
    let wsus = Wsus::start(&[918_944, 20 * MIB + 77]).await;
    let weir = staging("").wsus(&wsus.origin).start().await;
    look(&weir).await;
    reaches(&weir, "weir_prestaged_bytes_total", (918_944 + 20 * MIB + 77) as f64).await;
    for file in &wsus.files {
        let got = weir.download(HOST, &file.path(), &[], &file.content).await;
        assert!(got.is_all_of(&file.content) && got.is_hit(), "{got:?}");
        assert_eq!(wsus.origin.sent(&file.path()), file.content.len());
    }
}

#[tokio::test]
async fn a_server_names_no_place_that_no_rule_allows() {
    let elsewhere = Origin::start().await;
    let at = elsewhere.address();
    let urls = [format!("http://{at}/update.cab"), "http://169.254.169.254/latest".into(), format!("http://user@{at}/x.cab")];
    let wsus = Wsus::start_with(&[918_944], &urls.each_ref().map(String::as_str)).await;
    let weir = staging("").wsus(&wsus.origin).start().await;
    look(&weir).await;
    reaches(&weir, "weir_prestaged_bytes_total", 918_944.0).await;
    assert_eq!(weir.metric("weir_prestage_started_total", &[]).await, 1.0, "what the server has itself");
    assert_eq!(elsewhere.requests_in_all(), 0);
}

#[tokio::test]
async fn nothing_is_fetched_unless_it_was_switched_on_and_enough_clients_were_told() {
    let wsus = Wsus::start(&[918_944]).await;
    for builder in [proxy(), proxy().config("[prestage]\nenabled = true\nclients = 2\n")] {
        let weir = builder.wsus(&wsus.origin).start().await;
        look(&weir).await;
        agent::look(weir.doors()).await;
        reaches(&weir, "weir_metadata_read_total", 10.0).await;
        let (status, _) = weir.stop().await;
        assert!(status.success());
    }
    assert_eq!(wsus.origin.requests(&wsus.files[0].path()), 0, "the same client twice is one");
}

#[tokio::test]
async fn what_is_too_long_or_beyond_the_hour_is_left_to_those_who_want_it() {
    for (terms, reason) in [("size_max = \"1 MiB\"", "size"), ("per_hour = \"1 MiB\"", "budget")] {
        let wsus = Wsus::start(&[MIB / 2, 2 * MIB]).await;
        let weir = staging(terms).wsus(&wsus.origin).start().await;
        look(&weir).await;
        reaches(&weir, "weir_prestage_refused_total", 1.0).await;
        reaches(&weir, "weir_prestaged_bytes_total", (MIB / 2) as f64).await;
        assert_eq!(weir.metric("weir_prestage_refused_total", &[("reason", reason)]).await, 1.0, "{terms}");
        assert_eq!(wsus.origin.requests(&wsus.files[1].path()), 0, "{terms}");
    }
}

#[tokio::test]
async fn of_what_has_no_length_no_more_is_fetched_than_metadata_says() {
    let wsus = Wsus::start(&[MIB, 2 * MIB]).await;
    let (short, long) = (&wsus.files[0], &wsus.files[1]);
    let endless = Content::new("endless", 300 * MIB);
    wsus.origin.serve(&short.path(), Resource::new(&short.content).without_ranges().chunked());
    wsus.origin.serve(&long.path(), Resource::new(&endless).without_ranges().chunked());
    let weir = staging("").wsus(&wsus.origin).start().await;
    look(&weir).await;
    reaches(&weir, "weir_prestaged_bytes_total", MIB as f64).await;
    reaches(&weir, "weir_prestage_refused_total", 1.0).await;
    assert_eq!(weir.metric("weir_prestaged_bytes_total", &[]).await, MIB as f64);
    let sent = wsus.origin.sent(&long.path());
    assert!(sent < 100 * MIB, "{sent} bytes");
}

#[tokio::test]
async fn what_clients_wait_for_goes_first() {
    let wsus = Wsus::start(&[2 * MIB]).await;
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let wanted = Content::new("wanted", 3 * MIB);
    origin.serve("/wanted.iso", Resource::new(&wanted).held_from(MIB, &gate));
    let weir = staging("").wsus(&wsus.origin).upstream("files.example.com", &origin).start().await;
    let waiting = weir.download("files.example.com", "/wanted.iso", &[], &wanted);
    let (got, ()) = tokio::join!(waiting, async {
        gate.reached_by(1).await;
        look(&weir).await;
        reaches(&weir, "weir_prestage_started_total", 1.0).await;
        assert_eq!(wsus.origin.requests(&wsus.files[0].path()), 0, "a client's fill is under way");
        gate.open();
    });
    assert!(got.is_all_of(&wanted), "{got:?}");
    reaches(&weir, "weir_prestaged_bytes_total", (2 * MIB) as f64).await;
}
