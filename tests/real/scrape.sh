#!/usr/bin/env bash
# Metrics from another machine: what [admin] scrape and a token open, to whom, and that nothing else opens. Runs in a network namespace of its
# own, where the loopback interface has an address that weir takes for another machine's.

if [[ -z ${IN_NAMESPACE:-} ]]; then
    . "$(dirname "$0")/lib.sh"
    need curl curl ip iproute2 unshare util-linux
    unshare --net true || skip "a network namespace needs root"
    rm -rf "$work"
    IN_NAMESPACE=1 exec unshare --net "$0"
fi
. "$(dirname "$0")/lib.sh"

ip link set lo up
elsewhere=192.0.2.1
ip address add $elsewhere/32 dev lo
token=$(head -c 24 /dev/urandom | base64)
echo "$token" >"$work/token"

# administration LINES: a weir with these lines in [admin]; sets $port of the interface on both addresses.
administration() {
    port=$(free_ports 1)
    cat >"$work/weir.toml" <<CONF
[admin]
listen = ["127.0.0.1:$port", "$elsewhere:$port"]
$1
CONF
    "$weir" serve --config "$work/weir.toml" --listen 127.0.0.1:0 --data "$work/data" >/dev/null 2>"$work/weir.log" &
    weir_pid=$!
    started+=("$weir_pid")
    wait_for 60 curl -sf "http://127.0.0.1:$port/readyz"
}

# gets CLAIM STATUS ADDRESS PATH CURL-OPTION…
gets() {
    local claim=$1 wanted=$2 url=http://$3:$port$4
    shift 4
    same "$claim" "$wanted" "$(curl -s -o "$work/got" -w '%{http_code}' "$@" "$url")"
}

# refused CLAIM WORD: the start with the last configuration ends with exit code $code, and weir says why.
refused() {
    code=0
    "$weir" serve --config "$work/weir.toml" --listen 127.0.0.1:0 --data "$work/data" >/dev/null 2>"$work/weir.log" || code=$?
    holds "$1 (exit code $code)" test $code != 0
    holds "… and weir says why" grep -q "$2" "$work/weir.log"
}

echo "neither"
cat >"$work/weir.toml" <<CONF
[admin]
listen = ["$elsewhere:0"]
CONF
refused "an address that nobody could use stops the start" "open /metrics with scrape networks or a token_file"

echo "scrape"
administration "scrape = [\"192.0.2.0/24\"]"
for path in /metrics /healthz /readyz; do gets "a network that may: $path" 200 $elsewhere $path; done
gets "… metrics are metrics" 200 $elsewhere /metrics
holds "… of weir" grep -q '^weir_requests_total\|^# TYPE weir_' "$work/got"
gets "… not the status page" 403 $elsewhere /
gets "… not the API" 403 $elsewhere /api/status
gets "… and it changes nothing" 403 $elsewhere /api/purge -X POST -d '{}'
gets "… nor by another name" 421 $elsewhere /metrics -H 'Host: attacker.example'
stop_weir

administration "scrape = [\"198.51.100.0/24\"]"
gets "a network that may not: metrics" 403 $elsewhere /metrics
gets "… with a token that nobody set" 403 $elsewhere /metrics -H "Authorization: Bearer $token"
gets "loopback: metrics" 200 127.0.0.1 /metrics
gets "loopback: status page" 200 127.0.0.1 /
stop_weir

echo "a token"
administration "token_file = \"$work/token\""
gets "none: 401" 401 $elsewhere /metrics -D "$work/head"
holds "… and says which it wants" grep -qi '^www-authenticate: bearer' "$work/head"
gets "a wrong one: 401" 401 $elsewhere /metrics -H "Authorization: Bearer ${token%?}x"
gets "in another scheme: 401" 401 $elsewhere /metrics -H "Authorization: Basic $token"
for path in /metrics /healthz /readyz; do gets "the right one: $path" 200 $elsewhere $path -H "Authorization: Bearer $token"; done
gets "… not the status page" 403 $elsewhere / -H "Authorization: Bearer $token"
gets "loopback needs none" 200 127.0.0.1 /metrics
stop_weir

echo short >"$work/token"
refused "a token that could be guessed stops the start" token
closing
