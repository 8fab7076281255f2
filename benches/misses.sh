#!/usr/bin/env bash
# Memory under many small misses: four clients fetch $OBJECTS distinct contents of 3 kB. Prints weir's anonymous memory (RssAnon) as it goes and fails
# when the second half adds more than 500 bytes for each object, or when the whole is above 250 MB: what is kept of an object is its entry in
# the table, and every cache is full by then.

. "$(dirname "$0")/../tests/real/lib.sh"

count=${OBJECTS:-60000}
start_origin
start_weir --reverse "http://127.0.0.1:$origin_port"

anonymous() { awk '/^RssAnon/ { print $2 }' "/proc/$weir_pid/status"; }

echo "  objects 0: RssAnon $(anonymous) kB"
seen=()
for quarter in 1 2 3 4; do
    "$here/office.py" many "$weir_at" "/small/$quarter-{}" --clients 4 --count $((count / 4)) >"$work/result"
    seen+=("$(anonymous)")
    echo "  objects $((count / 4 * quarter)): RssAnon ${seen[-1]} kB, $(cat "$work/result")"
done
at_most "bytes of RssAnon for each object of the second half" 500 $((((seen[3] - seen[1]) * 1024) / (count / 2)))
at_most "RssAnon in kB after $count objects" 250000 "${seen[3]}"
closing
