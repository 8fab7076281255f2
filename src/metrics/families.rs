//! Every metric family: its name, what it says, and when to worry.
//!
//! Names are `weir_<module>_…`, units are base units and stand last, counters end in `_total`. A series is one line in one table below;
//! nothing else in weir names a metric.

use prometheus::Registry;

use crate::metrics::{
    By, Class, Counter, Door, Gauge, Op, Outcome, Purpose, Queue, ReloadOutcome, Seconds, Source, StatusClass, Verdict, Words,
    handles::Field,
};

/// One declared metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// What it counts, as one sentence.
    pub help: &'static str,
    /// When an operator should look, as one sentence.
    pub worry: &'static str,
}

/// How a family is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Of seconds.
    Histogram,
}

macro_rules! families {
    ($($(#[$doc:meta])* $handles:ident { $($field:ident: $kind:ty = $name:literal, $help:literal, $worry:literal;)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $handles { $(#[doc = $help] pub $field: $kind,)* }

            impl $handles {
                pub(super) fn register(registry: &Registry, fixed: &[(&'static str, &str)]) -> Self {
                    Self { $($field: <$kind>::register(registry, &Family { name: $name, kind: <$kind as Field>::KIND, help: $help, worry: $worry }, fixed),)* }
                }
            }

            /// Handles that nothing shows, for tests.
            impl Default for $handles {
                fn default() -> Self {
                    Self::register(&Registry::new(), &[])
                }
            }
        )*

        /// All declared families, in the order of the tables.
        pub const FAMILIES: &[Family] = &[$($(Family { name: $name, kind: <$kind as Field>::KIND, help: $help, worry: $worry },)*)*];
    };
}

families! {
    /// Handles for `proxy`: requests and what clients got.
    Proxy {
        requests: By<(Door, Class, Verdict), Counter> = "weir_requests_total",
            "Requests answered, by door, class and cache verdict.",
            "verdict=\"error\" or class=\"refuse\" grow as fast as the hits.";
        responses: By<(Door, StatusClass), Counter> = "weir_responses_total",
            "Responses by door and status class.",
            "4xx or 5xx rise: Delivery Optimization stops using a cache host for 15 minutes after one 4xx.";
        running: Gauge = "weir_requests_running",
            "Requests whose response has not ended.",
            "It only ever rises.";
        recognised: Counter = "weir_requests_recognised_total",
            "Requests answered by the bytes of their heads, without being parsed again.",
            "It stands still while hits are counted over HTTP/1.1: hits cost several times what they need.";
        sent_bytes: By<(Door, Class, Source), Counter> = "weir_sent_bytes_total",
            "Body bytes sent to clients, by door, class and where they came from; of long responses while they are sent.",
            "source=\"upstream\" stays above source=\"store\" after the first days of a rollout.";
        received_bytes: By<(Door, Class), Counter> = "weir_received_bytes_total",
            "Bytes that clients sent through tunnels, by door and class.",
            "It rises by gigabytes: somebody uploads through weir.";
        duration: By<(Door, Class), Seconds> = "weir_request_duration_seconds",
            "From the request head to the end of the response body.",
            "Hits take as long as misses.";
        first_byte: By<(Door, Verdict), Seconds> = "weir_first_byte_seconds",
            "From the request head to the first byte of the response.",
            "verdict=\"hit\" is above 50 ms: the disk does not keep up.";
        refusals: Words = "weir_refusals_total",
            "Requests refused, by reason.",
            "A reason grows that a client you know depends on; or thousands a minute from somebody you do not know.";
        errors: Words = "weir_errors_total",
            "Requests that ended in an error or a cut response, by reason.",
            "Any steady rate.";
        aborted: By<Door, Counter> = "weir_client_aborts_total",
            "Responses whose client went away before the end.",
            "More than a few per cent of the requests: clients may be timing out.";
        log_dropped: By<Queue, Counter> = "weir_access_log_dropped_total",
            "Access log records dropped because the writer could not keep up, by queue.",
            "It rises: the log's disk or pipe is too slow.";
    }

    /// Handles for `cache`: fills and what they did.
    Cache {
        fills_running: Gauge = "weir_fills_running",
            "Fills in progress.",
            "It stays at its limit: clients wait or get 503.";
        fills_started: Counter = "weir_fills_started_total",
            "Fills started.",
            "It grows as fast as the requests: nothing is being reused.";
        fills_finished: Counter = "weir_fills_finished_total",
            "Fills that brought all they were meant to.",
            "It falls behind fills started.";
        fills_failed: Words = "weir_fills_failed_total",
            "Fills that ended with an error, by reason.",
            "Any steady rate.";
        fills_aborted: Counter = "weir_fills_aborted_total",
            "Fills given up because the last reader left and much was missing; what they brought is kept.",
            "It is a large share of the fills started: clients give up on slow downloads.";
        fills_refused: Words = "weir_fills_refused_total",
            "Fills not started because a bound was reached, by bound.",
            "It rises: raise the limit or look for a client that asks for everything.";
        collapsed: Counter = "weir_collapsed_total",
            "Requests that joined a fill another one had started.",
            "Never; each is a download saved.";
        upstream_bytes: By<Purpose, Counter> = "weir_upstream_bytes_total",
            "Bytes that fills brought over the WAN, by purpose. What is only relayed is weir_sent_bytes_total{source=\"relayed\"}.",
            "purpose=\"read-ahead\" or \"repair\" is a large share.";
        revalidations: By<StatusClass, Counter> = "weir_revalidations_total",
            "Conditional requests to upstreams, by status class of the answer.",
            "Nearly all are 2xx: stored content changes all the time or validators are not honoured.";
        reused: Counter = "weir_content_reused_total",
            "Contents that were not fetched because equal ones were here under another name, by their digest.",
            "Never; each is a download saved.";
        digests_verified: Counter = "weir_digests_verified_total",
            "Contents that matched their declared digest.",
            "It stands still while content with digests is filled.";
        digests_mismatched: Counter = "weir_digests_mismatched_total",
            "Contents that did not match their declared digest and are not served any more.",
            "It rises at all: an upstream gives wrong bytes.";
        contradicted: Words = "weir_answers_contradicted_total",
            "Answers not stored because they contradict what is known of the content: html-for-a-file, wrong-length, digest-mismatch.",
            "It rises: a captive portal, a broken mirror, or somebody in between.";
        quarantined: Counter = "weir_quarantined_total",
            "Of those, contents that are kept in quarantine for the administrator; of one source 8 an hour.",
            "It rises at all: look into quarantine/ of the data directory.";
    }

    /// Handles for `store`: space and disk.
    Store {
        objects: Gauge = "weir_store_objects",
            "Stored responses.",
            "It falls while nothing is evicted or purged.";
        blobs: Gauge = "weir_store_blobs",
            "Contents on disk.",
            "It grows far beyond the objects.";
        used_bytes: Gauge = "weir_store_used_bytes",
            "Content bytes on disk.",
            "Only together with evictions: at its limit it is well used.";
        limit_bytes: Gauge = "weir_store_limit_bytes",
            "Content bytes that may be kept on disk.",
            "It differs from the configuration.";
        free_bytes: Gauge = "weir_store_free_bytes",
            "Free bytes of the store's file system.",
            "It nears the configured reserve: something else fills the disk.";
        evictions: Counter = "weir_store_evictions_total",
            "Contents removed to make room.",
            "It is steady every day: the store is smaller than what clients use.";
        evicted_bytes: Counter = "weir_store_evicted_bytes_total",
            "Bytes removed to make room.",
            "It approaches the bytes filled: the store only passes content through.";
        deduplicated_bytes: Counter = "weir_store_deduplicated_bytes_total",
            "Bytes not stored a second time because equal content was there.",
            "Never.";
        memory_hits: Counter = "weir_store_memory_hits_total",
            "Contents answered from the memory tier.",
            "Never.";
        memory_used_bytes: Gauge = "weir_store_memory_used_bytes",
            "Bytes in the memory tier.",
            "It exceeds the configured memory.";
        commits: Counter = "weir_store_commits_total",
            "Index commits.",
            "It stands still while fills run: nothing becomes durable.";
        commit_seconds: Seconds = "weir_store_commit_seconds",
            "Time of an index commit with the syncs it waits for.",
            "Above a second: the disk is too slow or failing.";
        errors: Words<Op> = "weir_store_errors_total",
            "Disk operations that failed, by operation.",
            "It rises at all.";
        degraded: Gauge = "weir_store_degraded",
            "1 while nothing can be stored and content is only passed through.",
            "It is 1.";
        orphans_removed: Counter = "weir_store_orphans_removed_total",
            "Files removed that the index did not know.",
            "More than a few after a crash.";
        corrupt_extents: Counter = "weir_store_corrupt_extents_total",
            "Extents dropped because they did not match their checksum.",
            "It rises at all: the disk loses bits.";
        read_bytes: Counter = "weir_store_read_bytes_total",
            "Bytes read from disk through the disk pool.",
            "It approaches what the disk can do.";
        written_bytes: Counter = "weir_store_written_bytes_total",
            "Bytes written to blobs.",
            "It stands still while fills run.";
    }

    /// Handles for one upstream; see [`crate::metrics::Upstream::named`].
    Peer {
        requests: By<StatusClass, Counter> = "weir_upstream_requests_total",
            "Requests to this upstream, by status class of the answer.",
            "5xx rise.";
        received_bytes: Counter = "weir_upstream_received_bytes_total",
            "Body bytes received from this upstream.",
            "It exceeds what the line is meant to carry.";
        errors: Words = "weir_upstream_errors_total",
            "Attempts that failed without a usable answer, by reason.",
            "Any steady rate.";
        retries: Counter = "weir_upstream_retries_total",
            "Attempts repeated or resumed.",
            "A large share of the requests.";
        first_byte: Seconds = "weir_upstream_first_byte_seconds",
            "From sending a request to the response head.",
            "It rises with load: the upstream or the line is saturated.";
        connections: Gauge = "weir_upstream_connections",
            "Open connections to this upstream.",
            "It stays at its limit.";
        connects: Counter = "weir_upstream_connects_total",
            "Connections opened to this upstream.",
            "It grows as fast as the requests: connections are not reused.";
        healthy: Gauge = "weir_upstream_healthy",
            "1 while this upstream is used, 0 while it is ejected.",
            "It is 0.";
    }

    /// Handles for `listener`: connections.
    Listener {
        connections: Gauge = "weir_connections",
            "Open client connections.",
            "It nears the connection limit.";
        connections_limit: Gauge = "weir_connections_limit",
            "Client connections served at once; beyond it the answer is 503.",
            "It is below the number of clients: raise the open files limit.";
        accepted: Counter = "weir_connections_accepted_total",
            "Client connections accepted.",
            "It grows as fast as the requests: clients do not reuse connections.";
        accept_errors: Words = "weir_accept_errors_total",
            "Failures to accept a connection, by reason.",
            "It rises at all: open files or memory run out.";
        shed: Counter = "weir_connections_shed_total",
            "Connections answered with 503, or closed, because the limit was reached.",
            "It rises at all.";
        shed_silently: Counter = "weir_connections_closed_unanswered_total",
            "Connections closed without an answer because the limit was reached: too many were being answered, or it was not our TLS.",
            "It rises: Delivery Optimization stops using a cache host for 15 minutes after a closed connection.";
        tls_handshakes: Counter = "weir_tls_handshakes_total",
            "TLS handshakes completed.",
            "It stands still while clients use the TLS port.";
        tls_failures: Words = "weir_tls_failures_total",
            "TLS handshakes that failed, by reason.",
            "It rises after a change of certificate.";
        tls_passed: Counter = "weir_tls_passed_total",
            "TLS connections for an allowed origin's name, tunnelled untouched.",
            "Never.";
        proxy_protocol_errors: Words = "weir_proxy_protocol_errors_total",
            "Connections closed for a missing or bad PROXY protocol header, by reason.",
            "It rises: the load balancer and the configuration disagree.";
        floods: Words = "weir_client_floods_total",
            "HTTP/2 connections closed because a client sent too many frames that bring nothing forward, by what they were.",
            "It rises: somebody tries to make weir work for nothing.";
        timeouts: Words = "weir_client_timeouts_total",
            "Client connections closed for slowness, by what was waited for.",
            "It rises: a bad line, or somebody holding connections open on purpose.";
    }

    /// Handles for `census`: what computers told their update server.
    Census {
        computers: Gauge = "weir_census_computers",
            "Computers whose calls to an update server passed through weir lately, as they said themselves.",
            "It falls far below the number of computers in the branch: they update from elsewhere.";
        events: Words<Outcome> = "weir_census_events_total",
            "Reports of computers to their update server that passed through weir, by outcome.",
            "outcome=\"download-failed\" or \"install-failed\" rises after a release.";
        ignored: Counter = "weir_census_ignored_total",
            "Calls of computers that were not listed because too many came from their address.",
            "It rises at all, and the address is no gateway: somebody makes computers up.";
    }

    /// Handles for `catalog`, and for reading what passes.
    Catalog {
        files: Gauge = "weir_catalog_files",
            "Files of updates that metadata described.",
            "It stays 0 behind the wsus door: replies pass in a form that weir cannot read.";
        updates: Gauge = "weir_catalog_updates",
            "Updates that metadata described.",
            "It stays 0 behind the wsus door: replies pass in a form that weir cannot read.";
        read: Counter = "weir_metadata_read_total",
            "Calls and replies of update services that were read to their end as they passed.",
            "It stands still while computers look for updates.";
        unread: Words = "weir_metadata_unread_total",
            "Calls, replies and parts of them that passed unread, by reason.",
            "reason=\"lagging\" rises: weir has too little processor time. xml, xpress or fragment: the server speaks in a way that weir does not know.";
        rewritten: Counter = "weir_metadata_urls_rewritten_total",
            "URLs of content that were made to lead through weir, where rewrite_to of an [[upstream]] is set.",
            "It stands still while computers download: they go past weir.";
        unwritten: Counter = "weir_metadata_urls_left_total",
            "URLs of content that stayed as they were there: origins that no rule allows, or ways to write them that no server uses.",
            "It rises: clients fetch content elsewhere, and [origins] may lack a host.";
        prestage_started: Counter = "weir_prestage_started_total",
            "Files that are fetched before anybody asked for them, begun.",
            "It rises although [prestage] is meant to be off.";
        prestaged_bytes: Counter = "weir_prestaged_bytes_total",
            "Bytes of files that were fetched before anybody asked for them.",
            "It is far more than what clients fetch: files are staged that nobody wants.";
        prestage_refused: Words = "weir_prestage_refused_total",
            "Files not fetched in advance although enough clients were told of them, by reason.",
            "reason=\"budget\" rises and clients wait for large files: the hourly share is small.";
    }

    /// Handles for `app`: the process.
    Process {
        start_time_seconds: Gauge = "weir_start_time_seconds",
            "When this process started, in Unix time.",
            "It changes unexpectedly.";
        ready: Gauge = "weir_ready",
            "1 while requests are served: the store is open, the listeners are bound, and nothing drains.",
            "It is 0.";
        reloads: By<ReloadOutcome, Counter> = "weir_config_reloads_total",
            "Reloads of the configuration, by outcome.",
            "outcome=\"refused\" rises: the running configuration is older than the file.";
    }
}
