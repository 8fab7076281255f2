#!/usr/bin/env bash
# Real clients against a release build: tests/real/run.sh [SCRIPT…], all of them by default. Needs root for the packages it installs.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scripts=("$@")
((${#scripts[@]})) || scripts=(demo clients h2 apt scrape read_alike shuffled herd first_download)
(. "$here/lib.sh" && need nginx nginx-light curl curl wget wget aria2c aria2 zsync zsync apt-ftparchive apt-utils)
passed=0 failed=0 skipped=0
for script in "${scripts[@]}"; do
    echo "== ${script%.sh}"
    begun=$SECONDS
    output=$("$here/${script%.sh}.sh" 2>&1) || output+=$'\n'"(exit code $?)"
    echo "$output"
    if [[ $output =~ ([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        if [[ $output =~ \ 1\ skipped ]]; then skipped=$((skipped + 1)); fi
    else
        failed=$((failed + 1)) # it did not come to its end
    fi
    echo "   $((SECONDS - begun)) s"
done
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
