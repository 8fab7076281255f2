#!/usr/bin/env bash
# The newcomer's way: the demonstration stays up, and the curl lines that it prints give the bytes whose digest stands above them.

. "$(dirname "$0")/lib.sh"

need curl curl
"$weir" demo --computers 5 --size "16 MiB" >"$work/weir.log" 2>&1 &
demo=$!
started+=("$demo")
wait_for 60 grep -q Ctrl-C "$work/weir.log"
holds "no promise is broken" test "$(grep -c BROKEN "$work/weir.log")" = 0
mapfile -t lines < <(sed -n 's/^ *\(curl .*\)/\1/p' "$work/weir.log")
mapfile -t digests < <(sed -n 's/.* door, SHA-256 //p' "$work/weir.log")
same "one line for each door" 5 "${#lines[@]}"
for ((door = 0; door < ${#lines[@]}; door++)); do
    line=${lines[door]}
    same "${line:0:110}…: right bytes" "${digests[door]}  -" "$(eval "$line" 2>"$work/first")"
    same "… and again" "${digests[door]}  -" "$(eval "$line" 2>"$work/second")"
    holds "… the first time 200" grep -q ' 200 ' "$work/first"
    holds "… the second time a hit" grep -qE '^[Cc]ache-[Ss]tatus: .*; ?hit' "$work/second"
done
kill -INT "$demo"
code=0
wait "$demo" || code=$?
same "Ctrl-C ends it cleanly" 0 "$code"
closing
