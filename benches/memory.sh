#!/usr/bin/env bash
# Memory: 500 clients read at 50 KB/s, each from a place of its own, from a cold object of 1 GiB, while four other objects are being filled.
# Prints the peak of weir's anonymous memory (RssAnon; mapped file pages do not count) and fails above 200 MB.

. "$(dirname "$0")/../tests/real/lib.sh"

seconds=${SECONDS_TO_READ:-60}
start_origin
files=$work/www/filestreamingservice/files
mkdir -p "$files"
generate "$files/slow" 1024
for number in 1 2 3 4; do generate "$files/fill-$number" 512; done
ulimit -n "$(ulimit -Hn)"
start_weir --allow "$update_host=127.0.0.1:$held_port"

"$here/office.py" slow "$weir_at" "$(update_at slow)" --clients 500 --rate 51200 --seconds "$seconds" --length $((1 << 30)) >"$work/result" &
readers=$!
started+=("$readers")
for number in 1 2 3 4; do
    curl -sSf -o /dev/null "http://$weir_at$(update_at "fill-$number")" &
    started+=($!)
done

peak=0
while kill -0 "$readers" 2>/dev/null; do
    now=$(awk '/^RssAnon/ { print $2 }' "/proc/$weir_pid/status")
    if ((now > peak)); then peak=$now; fi
    sleep 0.2
done
holds "500 slow readers for $seconds s" wait "$readers"
cat "$work/result"
at_most "peak RssAnon in kB" 200000 "$peak"
closing
