#!/usr/bin/env bash
# Eight Delivery Optimization clients: seven connections each, all 1 MiB ranges of one cold package of 256 MiB or a little more, in random order.

. "$(dirname "$0")/lib.sh"

need curl curl
start_origin
files=$work/www/filestreamingservice/files
mkdir -p "$files"
guid=0c8d4b1e-5a77-4f0e-9b1c-61d3f1f0a001
payload "$files/$guid" 256
start_weir --allow "$update_host=127.0.0.1:$origin_port"
limit=$(($(size "$files/$guid") * 101 / 100))

for state in cold warm; do
    if result=$("$here/office.py" shuffle "$weir_at" "$(update_at "$guid")" "$files/$guid" --clients 8); then
        pass "8 × 7 connections, $state: every byte of $(figure "$result" answers) answers is right ($(figure "$result" seconds) s)"
    else
        fail "8 × 7 connections, $state: $result"
    fi
    at_most "bytes from the origin" "$limit" "$(origin_bytes "$guid")"
done
curl -sSf -D "$work/head" -o "$work/whole" "http://$weir_at$(update_at "$guid")"
same_bytes "the whole file, put together from the pieces" "$files/$guid" "$work/whole"
holds "… is a hit" grep -qE '^[Cc]ache-[Ss]tatus: .*; ?hit' "$work/head"

# A signature is no part of what the content is, and an agent that resumes sends its ranges line by line.
other=http://$weir_at/filestreamingservice/files/$guid?P1=1796000000\&P4=other\&cacheHostOrigin=$update_host
last=$(($(size "$files/$guid") - 1))
curl -sSf -H 'Range: bytes=0-9' -H "Range: bytes=$((last - 455))-$last" -A Microsoft-Delivery-Optimization-Lite/10.0.0.1 -o "$work/tail" "$other"
same "another signature, a second resume: the last Range line counts" "$(tail -c 456 "$files/$guid" | sha256sum)" "$(sha256sum <"$work/tail")"
at_most "bytes from the origin" "$limit" "$(origin_bytes "$guid")"
same "a host that is not allowed gets 403" 403 "$(curl -sS -o /dev/null -w '%{http_code}' "http://$weir_at/x?cacheHostOrigin=elsewhere.example")"
closing
