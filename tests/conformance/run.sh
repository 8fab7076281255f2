#!/usr/bin/env bash
# The public HTTP cache tests (npm package http-cache-tests) against weir's reverse door.
#
#   tests/conformance/run.sh PATH-TO-WEIR [arguments of run.mjs]
set -euo pipefail
weir=$(realpath "${1:?usage: run.sh PATH-TO-WEIR [--verbose] [--only ID]}")
shift
cd "$(dirname "$0")"

command -v npm >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends nodejs npm; } >&2
[ -d node_modules/http-cache-tests ] || npm ci --no-audit --no-fund --silent

scratch=$(mktemp -d)
pids=()
cleanup() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT

# The address in the first line of FILE that says `listening on …` and holds WORD.
address() {
  local file=$1 word=$2 found
  for _ in $(seq 200); do
    found=$(sed -n "/$word/s/.*listening on \([0-9.:]*\).*/\1/p" "$file" | head -n 1)
    [ -n "$found" ] && echo "$found" && return
    sleep 0.05
  done
  echo "nobody said where it listens; $file:" >&2
  cat "$file" >&2
  return 1
}

node origin.mjs >"$scratch/origin.log" 2>&1 &
pids+=($!)
origin=$(address "$scratch/origin.log" listening)

"$weir" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --data "$scratch/data" --reverse "http://$origin" >"$scratch/weir.log" 2>&1 &
pids+=($!)
cache=$(address "$scratch/weir.log" reverse)

node --no-warnings run.mjs --cache "http://$cache" "$@"
