#!/usr/bin/env bash
# What reading metadata as it passes costs: an answer of 60 MB, plain or in XPRESS, passes in turns as metadata, which weir reads on the side, and as
# the answer of another call, which it does not. Over a line of 1 Gbit/s, and over loopback as fast as it goes, where everything here shares
# the processor. Fails above 5 % more time to the last byte, or 8 MiB more memory.

. "$(dirname "$0")/../tests/real/lib.sh"

count=${TURNS:-11}
for coding in identity xpress; do
    for rate in 125 0; do
        port=$(free_ports 1)
        "$root/benches/metadata.py" serve "$port" $coding $rate &
        server=$!
        started+=("$server")
        wait_for 20 bash -c ": </dev/tcp/127.0.0.1/$port"
        start_weir --wsus "http://127.0.0.1:$port"
        read -r unread read unread_kb read_kb < <("$root/benches/metadata.py" ask "$weir_at" "$weir_pid" "$count")
        metric() { curl -sS "http://$admin_at/metrics" | awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { print sum + 0 }'; }
        echo "  $coding, $rate MB/s (0: any): unread $unread s, read $read s, $(metric weir_metadata_read_total) read whole, $(metric weir_metadata_unread_total) given up"
        more=$(awk -v a="$unread" -v b="$read" 'BEGIN { printf "%d", (b - a) / a * 1000 + 0.5 }')
        if [[ $coding$rate == xpress0 ]]; then
            # Such an answer is through in 20 ms: the 2 ms until its reading is given up, on cores that everything here shares, are printed and not judged.
            echo "  $more thousandths more time to the last byte"
        else
            at_most "thousandths more time to the last byte" 50 "$more"
        fi
        at_most "kB more memory" 8192 $((read_kb - unread_kb))
        kill "$weir_pid" "$server"
        wait "$weir_pid" "$server" 2>/dev/null || true
    done
done
closing
