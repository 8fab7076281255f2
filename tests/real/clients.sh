#!/usr/bin/env bash
# curl, wget, aria2 and zsync through every door: whole, in ranges, in many ranges, resumed. The files are packages of 24 MiB and a little more;
# every one is compared by SHA-256.

. "$(dirname "$0")/lib.sh"

need curl curl wget wget aria2c aria2 zsync zsync
start_origin
www=$work/www
number=0
for name in whole ranges multi resumed wget-c aria2 forwarded handed named cut synced; do
    number=$((number % 6 + 1)) # equal content under two names is fetched under both
    payload "$www/$name.bin" 24 $number
done
start_weir --reverse "http://127.0.0.1:$origin_port" --allow "packages.example=127.0.0.1:$origin_port"
at=http://$weir_at
cd "$work"

# once_over CLAIM NAME SLACK: the origin sent the file no more than once (plus SLACK bytes).
once_over() { at_most "$1" "$(($(size "$www/$2") + $3))" "$(origin_bytes "/$2")"; }

echo "curl"
curl -sSf -o whole.bin "$at/whole.bin"
same_bytes "a whole file" "$www/whole.bin" whole.bin
curl -sSf -D head -o whole.bin "$at/whole.bin"
same_bytes "the same file again" "$www/whole.bin" whole.bin
holds "the second answer says hit" grep -qE '^[Cc]ache-[Ss]tatus: .*; ?hit' head
once_over "the origin sent it once" whole.bin 0
same "HEAD knows the length" "$(size "$www/whole.bin")" "$(curl -sSf -I "$at/whole.bin" | tr -d '\r' | awk 'tolower($1) == "content-length:" { print $2 }')"
same "an ETag that is still right gets 304" 304 \
    "$(curl -sS -o /dev/null -w '%{http_code}' -H "If-None-Match: $(tr -d '\r' <head | awk 'tolower($1) == "etag:" { print $2 }')" "$at/whole.bin")"

payload "$www/whole.bin" 24 7
touch -d '1 minute ago' "$www/whole.bin"
curl -sSf -H 'Cache-Control: no-cache' -o whole.bin "$at/whole.bin"
same_bytes "a file that changed, asked for with no-cache" "$www/whole.bin" whole.bin

for state in cold warm; do
    curl -sSf -r 3000000-9000000 -o range.bin "$at/ranges.bin"
    same "a range, $state" "$(part "$www/ranges.bin" 3000000 6000001 | sha256sum)" "$(sha256sum <range.bin)"
    curl -sSf -r -777 -o range.bin "$at/ranges.bin"
    same "the last bytes, $state" "$(tail -c 777 "$www/ranges.bin" | sha256sum)" "$(sha256sum <range.bin)"
done
same "a range past the end gets 416" 416 "$(curl -sS -o /dev/null -w '%{http_code}' -r 99999999- "$at/ranges.bin")"
curl -sSf -H 'Range: bytes=0-9' -H 'Range: bytes=500-599' -o range.bin "$at/ranges.bin"
same "of several Range lines the last counts" "$(part "$www/ranges.bin" 500 100 | sha256sum)" "$(sha256sum <range.bin)"

for state in cold warm; do
    curl -sSf -D head -r 100-199,5000000-5000999,-50 -o parts.bin "$at/multi.bin"
    length=$(size "$www/multi.bin")
    holds "several ranges, $state" python3 "$here/multipart.py" head parts.bin "$www/multi.bin" 100-199 5000000-5000999 $((length - 50))-$((length - 1))
done

head -c 10000000 "$www/resumed.bin" >resumed.bin
curl -sSf -C - -o resumed.bin "$at/resumed.bin"
same_bytes "a resumed file, cold" "$www/resumed.bin" resumed.bin
(curl -sS --limit-rate 6M -m 1 -o cut.bin "$at/cut.bin" || true) 2>/dev/null
holds "a download that was cut" test "$(stat -c %s cut.bin)" -lt "$(size "$www/cut.bin")"
curl -sSf -C - -o cut.bin "$at/cut.bin"
same_bytes "… resumed" "$www/cut.bin" cut.bin
once_over "the origin sent it once" cut.bin 0

echo "wget"
head -c 7654321 "$www/wget-c.bin" >wget-c.bin
wget -q -c -O wget-c.bin "$at/wget-c.bin"
same_bytes "wget -c, cold" "$www/wget-c.bin" wget-c.bin
head -c 1234567 "$www/wget-c.bin" >wget-c.bin
wget -q -c -O wget-c.bin "$at/wget-c.bin"
same_bytes "wget -c, warm" "$www/wget-c.bin" wget-c.bin
once_over "the origin sent it once" wget-c.bin 0

echo "aria2"
for state in cold warm; do
    rm -f aria2.bin
    aria2c -q -x8 -s8 -k1M -o aria2.bin "$at/aria2.bin"
    same_bytes "aria2c -x8 -s8 -k1M, $state" "$www/aria2.bin" aria2.bin
done
once_over "the origin sent it once" aria2.bin 262144

echo "zsync"
(cd "$www" && zsyncmake -u synced.bin synced.bin)
{ part "$www/synced.bin" 0 8000000; head -c 300000 "$www/whole.bin"; part "$www/synced.bin" 9000000 12000000; tail -c 2000000 "$www/synced.bin"; } >seed.bin
holds "zsync, with a seed that is partly right" zsync -q -i seed.bin -o zsynced.bin "$at/synced.bin.zsync"
same_bytes "… has the file" "$www/synced.bin" zsynced.bin

echo "other doors"
curl -sSf -x "$at" -o forwarded.bin http://packages.example/forwarded.bin
same_bytes "forward: curl -x" "$www/forwarded.bin" forwarded.bin
rm -f forwarded.bin
http_proxy=$at wget -q -O forwarded.bin http://packages.example/forwarded.bin
same_bytes "forward: wget with http_proxy" "$www/forwarded.bin" forwarded.bin
rm -f forwarded.bin
aria2c -q -x8 -s8 -k1M --all-proxy="$at" -o forwarded.bin http://packages.example/forwarded.bin
same_bytes "forward: aria2c" "$www/forwarded.bin" forwarded.bin
once_over "the origin sent it once to all three" forwarded.bin 262144
same "forward: an origin that is not allowed gets 403" 403 "$(curl -sS -o /dev/null -w '%{http_code}' -x "$at" http://elsewhere.example/)"
curl -sSf -H 'Host: packages.example' -o named.bin "$at/named.bin"
same_bytes "transparent: the origin is in Host" "$www/named.bin" named.bin
curl -sSf -o handed.bin "$at/handed.bin?cacheHostOrigin=packages.example"
same_bytes "delivery: the origin is in cacheHostOrigin" "$www/handed.bin" handed.bin
holds "weir is ready after all that" curl -sSf "http://$admin_at/readyz"
closing
