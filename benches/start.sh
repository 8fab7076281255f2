#!/usr/bin/env bash
# Start: how long after its start weir answers the first hit, with 100,000 objects in its index; after SIGTERM and after SIGKILL.

. "$(dirname "$0")/../tests/real/lib.sh"

count=${OBJECTS:-100000}
start_origin
start_weir --reverse "http://127.0.0.1:$origin_port"
echo "  filling $count objects: $("$here/office.py" many "$weir_at" '/tiny/{}' --count "$count")"
sleep 5 # the last group is committed

for signal in TERM KILL; do
    kill -"$signal" "$weir_pid"
    wait "$weir_pid" 2>/dev/null || true
    interval=0.005
    begun=${EPOCHREALTIME/./}
    start_weir --reverse "http://127.0.0.1:$origin_port"
    curl -sSf -D "$work/head" -o /dev/null "http://$weir_at/tiny/$((count / 2))"
    at_most "milliseconds to the first answer after SIG$signal" 1000 $(((${EPOCHREALTIME/./} - begun) / 1000))
    holds "… which is a hit" grep -qE '^[Cc]ache-[Ss]tatus: .*; ?hit' "$work/head"
    "$here/office.py" many "$weir_at" '/tiny/{}' --count "$count" >/dev/null
done
closing
