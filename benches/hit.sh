#!/usr/bin/env bash
# What one 1 KiB hit costs, counted: instructions (callgrind) and allocations (dhat), and the functions the instructions are in.
#
#     benches/hit.sh [LINES [whole]]    so many functions; 30 by default. whole: hits that go the whole way, recognised by nothing
#
# The clock plays no part: the figures are the same on a busy machine. Two runs differ by hits alone, so what start and end cost drops out.
# The client of the bench is counted too: some 1,500 instructions and no allocation.

set -euo pipefail
cd "$(dirname "$0")/.."

lines=${1:-30} way=${2:-recognised}
few=500 many=2500
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-hit.XXXXXX")
trap 'rm -rf "$work"' EXIT

command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind"; exit 1; }
bench=$(cargo bench -q --bench hit --no-run --message-format=json | grep -oP '"executable":"\K[^"]*/hit-[^"]*' | tail -n 1)

# counted TOOL HITS FLAG…
counted() {
    local tool=$1 hits=$2
    shift 2
    valgrind --tool="$tool" "$@" "$bench" "$hits" "$way" >"$work/said" 2>"$work/$tool.$hits" || { cat "$work/said" "$work/$tool.$hits"; exit 1; }
}

for hits in $few $many; do
    counted callgrind "$hits" --callgrind-out-file="$work/callgrind.out.$hits"
    counted dhat "$hits" --dhat-out-file="$work/dhat.out.$hits"
done

# each NAME PATTERN TOOL: the difference of the runs, for each hit.
each() {
    local counts=()
    for hits in $few $many; do counts+=("$(grep -oP "$2" "$work/$3.$hits" | tail -n 1 | tr -d ,)"); done
    awk -v name="$1" -v few="${counts[0]}" -v many="${counts[1]}" -v hits=$((many - few)) \
        'BEGIN { printf "%-14s %10.1f per hit\n", name, (many - few) / hits }'
}

each instructions 'Collected : \K[0-9]+' callgrind
each allocations 'Total: +[0-9,]+ bytes in \K[0-9,]+' dhat
each "bytes of them" 'Total: +\K[0-9,]+' dhat

# functions HITS: "count function" of one run, summed over the files it was inlined from.
functions() {
    # It complains about lines that have no counts.
    callgrind_annotate --threshold=100 --show-percs=no "$work/callgrind.out.$1" 2>/dev/null |
        sed -nE 's/^ *([0-9,]+) +[^: ]*:(.*)/\1 \2/p' | sed -E 's/ \[[^]]*\]$//' |
        awk '{ count = $1; gsub(",", "", count); $1 = ""; sum[$0] += count } END { for (name in sum) print sum[name] name }'
}

echo
echo "instructions per hit, by function:"
awk -v hits=$((many - few)) 'NR == FNR { count = $1; $1 = ""; before[$0] = count; next }
    { count = $1; $1 = ""; printf "%9.1f %s\n", (count - before[$0]) / hits, $0 }' <(functions $few) <(functions $many) |
    sort -rn | cut -c1-150 | head -n "$lines"
