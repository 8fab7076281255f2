#!/usr/bin/env bash
# The newcomer's way: the demonstration stays up, and the curl lines that it prints do what it says.

. "$(dirname "$0")/lib.sh"

need curl curl
"$weir" demo --computers 5 --size "16 MiB" >"$work/weir.log" 2>&1 &
demo=$!
started+=("$demo")
wait_for 60 grep -q Ctrl-C "$work/weir.log"
holds "no promise is broken" test "$(grep -c BROKEN "$work/weir.log")" = 0
mapfile -t lines < <(sed -n 's/^ *\(curl .*\)/\1/p' "$work/weir.log")
same "one line for each door" 4 "${#lines[@]}"
for line in "${lines[@]}"; do
    eval "$line" >"$work/first" 2>&1
    eval "$line" >"$work/second" 2>&1
    holds "${line:0:110}…: 200" grep -q ' 200 ' "$work/first"
    holds "… the second time a hit" grep -qE '^[Cc]ache-[Ss]tatus: .*; ?hit' "$work/second"
done
kill -INT "$demo"
code=0
wait "$demo" || code=$?
same "Ctrl-C ends it cleanly" 0 "$code"
closing
