# Shared by the scripts beside it: a place to work in, an origin, a weir, checks that count. Sourced, never run.
#
# Every script works in a directory of its own and ends what it started, by process id, however it ends.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
weir=${WEIR:-$root/target/release/weir}
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-real.XXXXXX")
chmod 755 "$work" # apt's own user reads the repository below it
started=()
passed=0
failed=0

end() {
    local code=$?
    trap - EXIT
    if ((${#started[@]})); then
        kill "${started[@]}" 2>/dev/null || true
        wait "${started[@]}" 2>/dev/null || true
    fi
    if ((code != 0 || failed != 0)) && [[ -s $work/weir.log ]]; then
        echo "--- the last lines of weir's log"
        tail -n 20 "$work/weir.log"
    fi
    rm -rf "$work"
    exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- checks ---------------------------------------------------------------------------------------

pass() { passed=$((passed + 1)); echo "  ok    $1"; }
fail() { failed=$((failed + 1)); echo "  FAIL  $1"; }

# same CLAIM EXPECTED ACTUAL
same() {
    if [[ "$2" == "$3" ]]; then pass "$1"; else fail "$1: expected $2, got $3"; fi
}

# holds CLAIM COMMAND…: the command succeeds; what it says is shown when it does not.
holds() {
    local claim=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$claim"; else fail "$claim: $(tail -n 3 <<<"$said")"; fi
}

# The last line of a script.
closing() {
    echo "$passed passed, $failed failed"
    ((failed == 0))
}

# skip WHY: nothing to be shown here; ends the script.
skip() {
    echo "  skipped: $1"
    echo "$passed passed, $failed failed, 1 skipped"
    exit 0
}

sha() { sha256sum "$1" | cut -d' ' -f1; }

# same_bytes CLAIM FILE FILE
same_bytes() { same "$1" "$(sha "$2")" "$([[ -e $3 ]] && sha "$3" || echo "no file")"; }

# at_most CLAIM LIMIT ACTUAL (whole numbers)
at_most() {
    if (($3 <= $2)); then pass "$1 ($3 of at most $2)"; else fail "$1: $3, at most $2"; fi
}

# --- what is needed -------------------------------------------------------------------------------

# need COMMAND PACKAGE …: installs the packages whose commands are missing.
need() {
    local missing=()
    while (($#)); do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

install_packages() {
    # nginx is wanted as a program: its service must not start on port 80.
    local policy=/usr/sbin/policy-rc.d made=
    [[ -e $policy ]] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=yes; }
    apt-get -q update >"$work/apt.log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >>"$work/apt.log" 2>&1 ||
        { cat "$work/apt.log"; exit 1; }
    [[ -z $made ]] || rm -f "$policy"
}

# free_ports COUNT: so many different loopback ports nobody listens on now, of those that the system gives to nobody by itself.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys

given = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
ports = iter(random.sample(range(min(given, 32768) // 2, given) if given > 2048 else range(61000, 65536), 1000))
sockets = []
while len(sockets) < int(sys.argv[1]):
    try:
        sockets.append(socket.create_server(("127.0.0.1", next(ports))))
    except OSError:
        pass  # taken
print(*(held.getsockname()[1] for held in sockets))
PYTHON
}

# wait_for SECONDS COMMAND…: until it succeeds; looks every $interval seconds.
interval=0.05
wait_for() {
    local until=$((SECONDS + $1))
    shift
    while ! "$@" >/dev/null 2>&1; do
        ((SECONDS <= until)) || { echo "waited in vain for: $*"; return 1; }
        sleep $interval
    done
}

# --- payloads: packages from Debian's mirror --------------------------------------------------------

# Downloaded packages, shared by all scripts and kept between runs.
shelf=${WEIR_PACKAGES:-$root/target/packages}

# payload FILE MEBIBYTES [NTH]: a real package of at least so many mebibytes at FILE: of all that the mirror has the smallest, or the NTH smallest.
# Unchanged for a week, as far as its date tells; what changed a moment ago is fresh for a moment.
payload() {
    local kept=$shelf/$2-${3:-1} file
    [[ -d $kept ]] || download "$2" "${3:-1}" "$kept" || { update_lists && download "$2" "${3:-1}" "$kept"; } ||
        skip "no Debian mirror can be reached: $(tail -n 1 "$work/apt.log")"
    file=$(echo "$kept"/*.deb)
    rm -f "$1"
    cp "$file" "$1"
    touch -d '7 days ago' "$1"
    echo "  $(basename "$1") is $(basename "$file"), $(size "$file") bytes"
}

# download MEBIBYTES NTH DIRECTORY: the package into a directory of its own; apt compares it with the digest that the mirror signed.
download() {
    local name fresh
    [[ -s $work/sizes ]] || apt-cache dumpavail 2>"$work/apt.log" |
        awk '$1 == "Package:" { name = $2 } $1 == "Size:" { print $2, name }' | sort -n -k 1,1 -k 2,2 >"$work/sizes"
    name=$(awk -v least=$(($1 * 1048576)) -v nth="$2" '$1 >= least && ++seen == nth { print $2 }' "$work/sizes")
    [[ -n $name ]] || { rm "$work/sizes"; echo "apt knows no packages" >"$work/apt.log"; return 1; }
    mkdir -p "$shelf"
    fresh=$(mktemp -d "$shelf/new.XXXXXX")
    if (cd "$fresh" && apt-get -q -o APT::Sandbox::User=root download "$name" >"$work/apt.log" 2>&1); then
        mv "$fresh" "$3"
    else
        rm -rf "$fresh"
        return 1
    fi
}

update_lists() {
    rm -f "$work/sizes"
    apt-get -q update >"$work/apt.log" 2>&1
}

size() { stat -c %s "$1"; }

# generate FILE MEBIBYTES: random bytes, for measurements that need more of them than packages have.
generate() { head -c "$2M" /dev/urandom >"$1" && touch -d '7 days ago' "$1"; }

# part FILE OFFSET LENGTH: these bytes of the file.
part() { dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" bs=1M status=none; }

# --- the origin: Debian's nginx -------------------------------------------------------------------

# start_origin: serves $work/www on $origin_port, on $held_port with 20 MB/s for each connection, and on $slow_start_port with a slow start.
# Writes one line per response to $work/access.log.
start_origin() {
    need nginx nginx-light
    read -r origin_port held_port slow_start_port < <(free_ports 3)
    mkdir -p "$work/www" "$work/nginx"
    cat >"$work/nginx/nginx.conf" <<CONF
daemon off;
user root;
pid $work/nginx/pid;
error_log $work/nginx/error.log;
worker_processes 1;
worker_rlimit_nofile 8192;
events { worker_connections 4000; }
http {
    log_format measured '\$msec \$request_time \$status \$body_bytes_sent "\$request" "\$http_range" "\$sent_http_content_range"';
    access_log $work/access.log measured;
    # Ranges that begin in the first megabyte, and whole answers, crawl; the others run.
    map \$http_range \$start_rate { default 0; "" 512k; "~^bytes=[0-9]{1,6}-" 512k; }
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    root $work/www;
    server {
        listen 127.0.0.1:$origin_port backlog=1024;
        location /tiny/ { access_log off; add_header ETag '"1"'; add_header Cache-Control max-age=86400; return 200 "\$uri, a small object"; }
        # 3 kB each, with the fields of an ordinary answer.
        location /small/ {
            access_log off;
            add_header ETag '"1"';
            add_header Cache-Control max-age=86400;
            add_header Last-Modified "Sun, 01 Nov 2026 00:00:00 GMT";
            return 200 "\$uri $(printf 'x%.0s' {1..3000})";
        }
    }
    server { listen 127.0.0.1:$held_port; limit_rate 20m; }
    server { listen 127.0.0.1:$slow_start_port; limit_rate \$start_rate; }
}
CONF
    : >"$work/access.log"
    nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" &
    started+=($!)
    wait_for 60 curl -s -o /dev/null "http://127.0.0.1:$origin_port/"
}

# Content bytes the origin sent so far for requests whose path contains $1.
origin_bytes() { awk -v path="$1" 'index($6, path) { sum += $4 } END { printf "%.0f\n", sum }' "$work/access.log"; }

origin_requests() { awk -v path="$1" 'index($6, path)' "$work/access.log" | wc -l; }

# update_at FILE: what a Delivery Optimization client asks weir for, when FILE is $work/www/filestreamingservice/files/FILE.
update_at() { echo "/filestreamingservice/files/$1?P1=1795000000&P2=402&P3=2&P4=c2lnbmF0dXJl&cacheHostOrigin=$update_host"; }
update_host=tlu.dl.delivery.mp.microsoft.com

# figure JSON NAME: a number out of what office.py printed.
figure() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$1" "$2"; }

# --- weir -----------------------------------------------------------------------------------------

# start_weir FLAG…: the release binary on ports of the system's choice; sets $weir_at (host:port of the doors), $admin_at and $weir_pid.
start_weir() {
    [[ -x $weir ]] || { echo "$weir is missing: cargo build --release"; exit 1; }
    : >"$work/weir.log" # what an earlier one said is not to be read as this one's
    "$weir" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --data "$work/data" "$@" >"$work/access.json" 2>"$work/weir.log" &
    weir_pid=$!
    started+=("$weir_pid")
    wait_for 60 addresses
    addresses
}

addresses() {
    weir_at=$(grep -oP 'listening on \K127\.0\.0\.1:[0-9]+(?= \((?!administration))' "$work/weir.log" | head -n 1)
    admin_at=$(grep -oP 'listening on \K127\.0\.0\.1:[0-9]+(?= \(administration)' "$work/weir.log" | head -n 1)
    [[ -n $weir_at && -n $admin_at ]]
}

stop_weir() {
    kill "$weir_pid"
    wait "$weir_pid" || true
}
