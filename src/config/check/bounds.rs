//! Numbers, sizes and times that mean nothing, or something nobody can want.

use std::time::Duration;

use crate::config::{
    Draft,
    problem::{At, Complaints},
};

/// The most of anything that is counted: more than one machine has, and few enough for every counter.
pub(in crate::config) const COUNT_MAX: usize = 1_000_000;

/// The longest wait that can be meant.
pub(in crate::config) const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The head buffer of one connection may be so large.
const HEAD_MAX: u64 = 1 << 20;

/// More than a header map holds (http has room for 24,576), or a browser sends.
const FIELDS_MAX: u64 = 10_000;

pub(super) fn run(draft: &Draft, complaints: &Complaints<'_>) {
    counts(draft, complaints);
    sizes(draft, complaints);
    spans(draft, complaints);
}

fn counts(draft: &Draft, complaints: &Complaints<'_>) {
    let config = &draft.config;
    let (limits, http2, cache) = (&config.listener.limits, &config.listener.http2, &config.cache);
    let (upstream, most) = (&config.upstream, COUNT_MAX as u64);
    let counts = [
        ("store.disk_threads", config.store.disk_threads as u64, 1, 1024),
        ("fill.parallel", cache.parallel_max as u64, 1, 1024),
        ("fill.finish_percent", cache.finish_percent, 0, 100),
        ("limits.connections", limits.connections as u64, 0, most),
        ("limits.connections_per_client", limits.connections_per_client as u64, 0, most),
        ("limits.files_reserved", limits.files_reserved, 0, most),
        ("limits.fields", limits.fields_max as u64, 1, FIELDS_MAX),
        ("limits.http2_streams", http2.streams_max.into(), 1, most),
        ("limits.fills", cache.fills_max as u64, 1, most),
        ("limits.fills_per_client", cache.fills_per_client_max as u64, 1, most),
        ("limits.ranges", config.proxy.ranges_max as u64, 1, most),
        ("limits.upstream_connections", upstream.connections.content as u64, 1, most),
        ("limits.upstream_pass_connections", upstream.connections.pass as u64, 1, most),
        ("limits.redirects", upstream.redirects.max as u64, 0, 100),
        ("health.failures", upstream.health.failures_max.into(), 1, most),
    ];
    for (key, value, least, most) in counts {
        if value < least {
            complaints.add(
                &complaints.place_of(key),
                format!("with {value} nothing would work"),
                format!("write at least {least}"),
            );
        }
        if value > most {
            complaints.add(
                &complaints.place_of(key),
                format!("{value} is more than makes sense"),
                format!("write at most {most}"),
            );
        }
    }
}

fn sizes(draft: &Draft, complaints: &Complaints<'_>) {
    let config = &draft.config;
    let (store, head, target) = (&config.store, config.listener.limits.head_max as u64, config.policy.target_max as u64);
    let rows = [
        ("store.size", store.size >= 1 << 20, "too small for anything", "write at least \"1 MiB\""),
        ("fill.segment", config.cache.segment_len >= 1 << 20, "a segment is at least one piece", "write at least \"1 MiB\""),
        ("limits.head", head >= 8192, "too small for real requests", "write at least \"8 KiB\""),
        ("limits.head", head <= HEAD_MAX, "every connection may take so much memory", "write at most \"1 MiB\""),
        ("limits.target", target >= 1024, "too small for real requests", "write at least \"1 KiB\""),
        ("limits.target", target <= head, "a request target is part of the head", "make it no larger than head"),
    ];
    for (key, holds, what, remedy) in rows {
        if !holds {
            complaints.add(&complaints.place_of(key), what, remedy);
        }
    }
    match &draft.object_max {
        Some(At { value: 0, place }) => complaints.add(place, "nothing could be stored", "write a size, or leave it out"),
        Some(At { value, place }) if *value > store.size => {
            complaints.add(place, "one object may be larger than the whole store", "make it smaller than size");
        }
        _ => {}
    }
}

fn spans(draft: &Draft, complaints: &Complaints<'_>) {
    let config = &draft.config;
    let (client, upstream, health) = (&config.listener.timeouts, &config.upstream.timeouts, &config.upstream.health);
    let waits = [
        ("timeouts.client_head", client.head),
        ("timeouts.client_handshake", client.handshake),
        ("timeouts.client_idle", client.idle),
        ("timeouts.client_write", client.write_stall),
        ("timeouts.client_body", client.body_stall),
        ("timeouts.upstream_connect", upstream.connect),
        ("timeouts.upstream_first_byte", upstream.first_byte),
        ("timeouts.upstream_stall", upstream.stall),
        ("timeouts.client_call", config.proxy.call_timeout),
        ("timeouts.tunnel_idle", config.proxy.tunnel_idle),
        ("fill.reader_timeout", config.cache.reader_timeout),
        ("census.retention", config.census.retention),
        ("health.backoff", health.backoff),
        ("health.backoff_max", health.backoff_max),
    ];
    // Here zero has a meaning: at once.
    let may_be_zero = [
        ("timeouts.upstream_idle", upstream.idle),
        ("timeouts.upstream_busy", upstream.busy),
        ("timeouts.drain", config.drain),
        ("fill.wait", config.cache.fill_wait),
        ("store.commit_interval", config.store.commit_interval),
    ];
    for (key, _) in waits.iter().filter(|(_, span)| span.is_zero()) {
        complaints.add(
            &complaints.place_of(key),
            "whatever is waited for would be late",
            "write a time above zero, such as \"30 s\"",
        );
    }
    for (key, _) in waits.iter().chain(&may_be_zero).filter(|(_, span)| *span > SPAN_MAX) {
        complaints.add(&complaints.place_of(key), "nobody waits so long", "write at most \"365 d\"");
    }
    if health.backoff_max < health.backoff {
        let what = format!("less than backoff, which is {:?}", health.backoff);
        complaints.add(&complaints.place_of("health.backoff_max"), what, "make it no shorter than backoff");
    }
}
