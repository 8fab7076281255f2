#!/usr/bin/env bash
# Where the time of hits goes: weir under wrk, sampled by perf. For counts that a busy machine does not change, see hit.sh.
#
#     benches/profile.sh [SIZE [CONNECTIONS]]    SIZE as for head -c, 1K by default; 64 connections by default
#
# Prints the functions by their own share, then by their share with all they call. LINES says how many.

. "$(dirname "$0")/../tests/real/lib.sh"

size=${1:-1K} connections=${2:-64} lines=${LINES:-40}
need wrk wrk perf linux-perf
perf stat -e cpu-clock true >/dev/null 2>&1 || { echo "perf does not work here; benches/hit.sh does"; exit 1; }

start_origin
mkdir -p "$work/www/content"
head -c "$size" /dev/urandom >"$work/www/content/object"
touch -d '7 days ago' "$work/www/content/object"
start_weir --reverse "http://127.0.0.1:$origin_port"
url=http://$weir_at/content/object
curl -sSf -o /dev/null "$url"
wrk -t2 -c"$connections" -d2s "$url" >/dev/null
wrk -t2 -c"$connections" -d8s "$url" >"$work/wrk" &
started+=($!)
perf record -q -e cpu-clock -F 1999 -g -p "$weir_pid" -o "$work/perf" -- sleep 6 2>/dev/null
wait "${started[-1]}"
grep -E 'Requests/sec|Transfer/sec' "$work/wrk"
for children in no-children children; do
    printf '\n--- %s\n' "$children"
    perf report -q -i "$work/perf" --"$children" -g none --percent-limit 0.5 --sort symbol 2>/dev/null | grep -v '^$' | cut -c1-150 | head -n "$lines"
done
