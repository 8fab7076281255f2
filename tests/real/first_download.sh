#!/usr/bin/env bash
# The first download of a cold package of 256 MiB or a little more, with the origin held to 20 MB/s per connection: through weir it is no slower than a direct one.

. "$(dirname "$0")/lib.sh"

need curl curl
start_origin
files=$work/www/filestreamingservice/files
mkdir -p "$files"
guid=52c5d2a1-3f0b-45a6-8f6e-9d7c5b3e0003
payload "$files/$guid" 256
ln "$files/$guid" "$work/www/reverse.bin"

# timed URL: seconds and the digest of a download.
timed() { curl -sSf -o "$work/got" -w '%{time_total}' "$1"; }

# no_slower CLAIM SECONDS: 5 % are the timer's.
no_slower() {
    same_bytes "$1: right bytes" "$files/$guid" "$work/got"
    holds "$1: $2 s, direct $direct s" awk -v direct="$direct" -v here="$2" 'BEGIN { exit !(here <= direct * 1.05) }'
}

direct=$(timed "http://127.0.0.1:$held_port/filestreamingservice/files/$guid")
start_weir --allow "$update_host=127.0.0.1:$held_port" --reverse "http://127.0.0.1:$held_port"
no_slower "delivery door" "$(timed "http://$weir_at$(update_at "$guid")")"
no_slower "reverse door" "$(timed "http://$weir_at/reverse.bin")"
closing
