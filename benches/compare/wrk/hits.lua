-- What every run of wrk prints at its end: one line of JSON.

function done(summary, latency, requests)
    local errors = summary.errors
    print(string.format(
        '{"seconds": %.6f, "requests": %d, "bytes": %d, "p50": %.6f, "p99": %.6f, "errors": %d}',
        summary.duration / 1e6, summary.requests, summary.bytes,
        latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
