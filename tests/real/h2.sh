#!/usr/bin/env bash
# curl, nghttp and h2load speak HTTP/2 to every door, by ALPN and with prior knowledge. Every file is compared by SHA-256.

. "$(dirname "$0")/lib.sh"

need nginx nginx-light curl curl nghttp nghttp2-client h2load nghttp2-client openssl openssl
start_origin
www=$work/www
names=(reverse forward transparent delivery)
for name in "${names[@]}"; do generate "$www/$name.bin" 6; done
generate "$www/range.bin" 24
generate "$www/load.bin" 1
# What a WSUS server hands out lies under its SHA-1.
generate "$work/update.cab" 6
sha1=$(sha1sum "$work/update.cab" | cut -d' ' -f1 | tr a-f A-F)
mkdir -p "$www/Content/${sha1: -2}"
cp -p "$work/update.cab" "$www/Content/${sha1: -2}/$sha1.cab"
for i in {1..40}; do generate "$www/small$i.bin" 0; echo "small $i" >"$www/small$i.bin"; touch -d '7 days ago' "$www/small$i.bin"; done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=weir.branch \
    -addext 'subjectAltName=DNS:weir.branch,DNS:packages.example' -keyout "$work/key.pem" -out "$work/chain.pem" 2>/dev/null
doors='["delivery", "transparent", "forward", "reverse"]'
{
    for of in "$doors" '["wsus"]'; do
        for tls in false true; do printf '[[listen]]\naddress = "127.0.0.1:0"\ndoors = %s\ntls = %s\n\n' "$of" "$tls"; done
    done
    printf '[[listen]]\naddress = "127.0.0.1:0"\ndoors = ["forward"]\n\n'
    printf '[[certificate]]\nchain = "%s"\nkey = "%s"\n\n' "$work/chain.pem" "$work/key.pem"
    printf '[[upstream]]\nname = "%s"\nurl = "http://127.0.0.1:%s"\ndoor = "%s"\n\n' site "$origin_port" reverse wsus "$origin_port" wsus
    printf '[[upstream]]\nname = "packages"\nurl = "http://packages.example"\nhosts = ["packages.example"]\naddress = "127.0.0.1:%s"\n' "$origin_port"
} >"$work/weir.toml"

# ports: of the doors, plain and with TLS, of the wsus door likewise, and of the forward door alone, in the order of the configuration.
ports() {
    mapfile -t at < <(grep -oP 'listening on 127\.0\.0\.1:\K[0-9]+(?= \((?!administration))' "$work/weir.log")
    ((${#at[@]} == 5))
}
[[ -x $weir ]] || { echo "$weir is missing: cargo build --release"; exit 1; }
"$weir" serve --config "$work/weir.toml" --admin 127.0.0.1:0 --data "$work/data" >"$work/access.json" 2>"$work/weir.log" &
started+=($!)
wait_for 60 ports
ports
plain=${at[0]} tls=${at[1]} wsus=${at[2]} wsus_tls=${at[3]} forward=${at[4]}
cd "$work"

# get FLAG…: curl; says the version that was spoken and the status.
get() { curl -sS --cacert chain.pem -w '%{http_version} %{http_code}' "$@"; }
knowing=(--http2-prior-knowledge)
agreeing=(--http2)
here_tls=(--connect-to "::127.0.0.1:$tls")

echo "curl, prior knowledge"
for name in "${names[@]}"; do
    port=$plain
    case $name in
        delivery) url="http://weir.branch/$name.bin?cacheHostOrigin=packages.example" ;;
        reverse) url="http://weir.branch/$name.bin" ;;
        transparent) url="http://packages.example/$name.bin" ;;
        forward) url="http://packages.example/$name.bin" port=$forward ;;
    esac
    same "$name speaks HTTP/2" "2 200" "$(get "${knowing[@]}" --connect-to "::127.0.0.1:$port" -o got.bin "$url")"
    same_bytes "… and brings the file" "$www/$name.bin" got.bin
done
same "wsus speaks HTTP/2" "2 200" "$(get "${knowing[@]}" -o got.cab "http://127.0.0.1:$wsus/Content/${sha1: -2}/$sha1.cab")"
same_bytes "… and brings the update" update.cab got.cab
same "a range" "2 206" "$(get "${knowing[@]}" -r 3000000-9000000 -o got.bin "http://127.0.0.1:$plain/range.bin")"
same "… is the right one" "$(part "$www/range.bin" 3000000 6000001 | sha256sum)" "$(sha256sum <got.bin)"
head -c 10000000 "$www/range.bin" >resumed.bin
curl -sSf "${knowing[@]}" -C - -o resumed.bin "http://127.0.0.1:$plain/range.bin"
same_bytes "a resumed file" "$www/range.bin" resumed.bin
same "what is not there" "2 404" "$(get "${knowing[@]}" -o /dev/null "http://127.0.0.1:$plain/nothing.bin")"
same "an origin that is not allowed" "2 403" \
    "$(get "${knowing[@]}" --connect-to "::127.0.0.1:$forward" -o /dev/null http://elsewhere.example/x)"

echo "curl, ALPN"
for name in delivery reverse; do
    query=$([[ $name == delivery ]] && echo '?cacheHostOrigin=packages.example' || true)
    same "$name speaks HTTP/2" "2 200" "$(get "${agreeing[@]}" "${here_tls[@]}" -o got.bin "https://weir.branch/$name.bin$query")"
    same_bytes "… and brings the file" "$www/$name.bin" got.bin
done
same "wsus speaks HTTP/2" "2 200" \
    "$(get "${agreeing[@]}" --connect-to "::127.0.0.1:$wsus_tls" -o got.cab "https://weir.branch/Content/${sha1: -2}/$sha1.cab")"
same_bytes "… and brings the update" update.cab got.cab
same "who wants HTTP/1.1 gets it" "1.1 200" "$(get --http1.1 "${here_tls[@]}" -o got.bin https://weir.branch/reverse.bin)"
same_bytes "… and the same file" "$www/reverse.bin" got.bin

echo "nghttp"
nghttp "http://127.0.0.1:$plain/reverse.bin" >got.bin
same_bytes "a file" "$www/reverse.bin" got.bin
nghttp "https://127.0.0.1:$tls/reverse.bin" >got.bin 2>nghttp.log # the name in the certificate is another
same_bytes "a file, over TLS" "$www/reverse.bin" got.bin
nghttp -H':authority: packages.example' "http://127.0.0.1:$plain/transparent.bin" >got.bin
same_bytes "an origin by its :authority" "$www/transparent.bin" got.bin
nghttp -w 16 -W 16 "http://127.0.0.1:$plain/range.bin" >got.bin
same_bytes "through the smallest windows" "$www/range.bin" got.bin
nghttp -b 200 "http://127.0.0.1:$plain/reverse.bin" >got.bin
same_bytes "with padding" "$www/reverse.bin" got.bin
nghttp -H'accept-language: de' -H'x-long: '"$(head -c 8000 /dev/zero | tr '\0' x)" "http://127.0.0.1:$plain/reverse.bin" >got.bin
same_bytes "with a field that needs a CONTINUATION" "$www/reverse.bin" got.bin
many=() && for i in {1..40}; do many+=("http://127.0.0.1:$plain/small$i.bin"); done
nghttp "${many[@]}" | sort >got.txt
for i in {1..40}; do echo "small $i"; done | sort >want.txt
same_bytes "40 files on one connection" want.txt got.txt

echo "h2load"
# load CLAIM REQUESTS FLAG…: all are answered, with as many bytes of content as the file has.
load() {
    local claim=$1 requests=$2 said
    shift 2
    said=$(h2load -n "$requests" "$@" 2>&1) || true
    same "$claim: all are answered" "$requests" "$(grep -oP 'status codes: \K[0-9]+(?= 2xx)' <<<"$said")"
    same "… with every byte" "$((requests * 1048576))" "$(grep -oP '[0-9]+(?=\) data)' <<<"$said")"
}
load "plain, 4 connections of 25 streams" 400 -c 4 -m 25 "http://127.0.0.1:$plain/load.bin"
load "TLS, 4 connections of 25 streams" 200 -c 4 -m 25 "https://127.0.0.1:$tls/load.bin"
load "as many streams as are allowed" 256 -c 1 -m 128 "http://127.0.0.1:$plain/load.bin"
load "the smallest windows" 40 -c 2 -m 10 -w 14 -W 14 "http://127.0.0.1:$plain/load.bin"
same "the origin was asked for it once" 1 "$(origin_requests /load.bin)"
closing
