#!/usr/bin/env bash
# 200 clients ask for one cold package at the same moment: one of 256 MiB from an origin as fast as it can be, one of 64 MiB from an origin that
# starts slowly, so that "before the third piece was sent" can be read off its log. (tests/it/herd.rs holds the origin inside the third piece.)

. "$(dirname "$0")/lib.sh"

clients=200
start_origin
files=$work/www/filestreamingservice/files
mkdir -p "$files"

# When the origin had sent the first three pieces, as far as its log tells: a response is taken to have flowed evenly.
third_piece_sent() {
    awk -v path="$guid" -v wanted=$((3 * 1048576)) '
        index($6, path) && $4 > 0 {
            start = match($8, /[0-9]+/) ? substr($8, RSTART, RLENGTH) + 0 : 0
            if (start < wanted && start + $4 >= wanted) print $1 - $2 + $2 * (wanted - start) / $4
        }' CONVFMT=%.6f OFMT=%.3f "$work/access.log" | sort -n | head -n 1
}

# herd GUID MEBIBYTES ORIGIN-PORT: all clients at once; sets $before, by how much the last first byte came before the third piece was sent.
herd() {
    guid=$1
    payload "$files/$guid" "$2"
    start_weir --allow "$update_host=127.0.0.1:$3"
    if result=$("$here/office.py" herd "$weir_at" "$(update_at "$guid")" "$files/$guid" --clients $clients); then
        pass "$clients clients have the right bytes ($(figure "$result" seconds) s)"
    else
        fail "$clients clients: $result"
    fi
    at_most "bytes from the origin" $(($(size "$files/$guid") * 101 / 100)) "$(origin_bytes "$guid")"
    before=$(python3 -c 'import sys; print(f"{float(sys.argv[1]) - float(sys.argv[2]):.3f}")' "$(third_piece_sent)" "$(figure "$result" last_first_byte)")
    echo "  last first byte $(figure "$result" last_first_byte_after) s after the start; the origin answered $(origin_requests "$guid") requests"
    stop_weir
}

echo "as fast as it can be"
herd 7e5f9a52-90c4-4c27-8d0a-2f4b6c1d0002 256 "$origin_port"
echo "  the last first byte came $before s before the origin had sent its third piece (negative: after it)"

echo "a slow start"
herd 7e5f9a52-90c4-4c27-8d0a-2f4b6c1d0004 64 "$slow_start_port"
holds "every client had its first byte before the origin had sent its third piece ($before s before)" test "${before:0:1}" != "-"
closing
