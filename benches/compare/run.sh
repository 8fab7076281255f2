#!/usr/bin/env bash
# weir beside nginx, Varnish, Traffic Server and Squid: every case of RESULTS.md, or the cases that are named.
#
#     benches/compare/run.sh [--turns N] [--seconds S] [CASE…]    measures, then reports
#     benches/compare/run.sh --report                             writes RESULTS.md from what was measured
#     benches/compare/run.sh --list                               names the cases
#
# As root on a Debian machine to spare: packages that are missing are installed, without starting their services. Everything listens on
# loopback, on free ports, and works below a temporary directory (COMPARE_WORK says where; some 30 GB are wanted). Samples are kept in
# target/compare (COMPARE_RESULTS names another place), a file for each case, so that cases can be measured one by one. WEIR names another
# binary than target/release/weir, WEIR_MORE a file with more of weir's configuration.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
results=${COMPARE_RESULTS:-$root/target/compare}
mkdir -p "$results"

# need COMMAND PACKAGE …: the packages whose commands are missing.
need() {
    local missing=()
    while (($#)); do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# The servers are wanted as programs: their services must not start.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made=
    [[ -e $policy ]] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=yes; }
    {
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"
    } >"$results/apt.log" 2>&1 || { cat "$results/apt.log"; exit 1; }
    [[ -z $made ]] || rm -f "$policy"
}

case ${1:-} in
    --list | --report) ;;
    *)
        need nginx nginx-light varnishd varnish traffic_server trafficserver squid squid-openssl \
            wrk wrk h2load nghttp2-client openssl openssl rustc rustc
        if [[ -z ${WEIR:-} ]]; then
            (cd "$root" && cargo build -q --release)
            WEIR=$root/target/release/weir
        fi
        export WEIR
        rustc -O --edition 2024 "$here/load/main.rs" -o "$results/load"
        ulimit -n "$(ulimit -Hn)"
        ;;
esac
exec python3 -B "$here/compare.py" --results "$results" "$@"
