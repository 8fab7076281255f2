#!/usr/bin/env bash
# Debian's nginx, apache2 and haproxy read the same requests in what weir forwards: the table of ambiguous requests, good ones, and
# seeded mutations of both. MUTATIONS=3000 (SEED=…) for the long form.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need nginx nginx-light apache2 apache2 haproxy haproxy

mkfifo "$work/go"
python3 "$here/read_alike.py" --table "$root/tests/it/bad_clients/requests.txt" --mutations "${MUTATIONS:-800}" --seed "${SEED:-1}" \
    --recorders direct,nginx,apache,haproxy --ready "$work/ready" <"$work/go" >"$work/report" 2>&1 &
compared=$!
started+=("$compared")
exec 3>"$work/go"
wait_for 60 test -e "$work/ready" || { cat "$work/report"; exit 1; }

declare -A port recorder
while IFS='=' read -r name at; do recorder[$name]=$at; done <"$work/ready"
port[direct]=${recorder[direct]}
read -r port[nginx] port[apache] port[haproxy] < <(free_ports 3)

mkdir -p "$work/nginx" "$work/apache"
cat >"$work/nginx/nginx.conf" <<CONF
daemon off;
pid $work/nginx/pid;
error_log $work/nginx/error.log;
worker_processes 1;
user root;
events { worker_connections 2000; }
http {
    access_log off;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    merge_slashes off;
    server {
        listen 127.0.0.1:${port[nginx]};
        location / {
            proxy_pass http://127.0.0.1:${recorder[nginx]};
            proxy_http_version 1.1;
            proxy_set_header Host \$http_host;
            proxy_set_header Connection "";
        }
    }
}
CONF
cat >"$work/apache/apache.conf" <<CONF
ServerRoot $work/apache
ServerName apache.test
PidFile $work/apache/pid
ErrorLog $work/apache/error.log
Mutex pthread
Listen 127.0.0.1:${port[apache]}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
User www-data
Group www-data
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:${recorder[apache]}/ nocanon
CONF
cat >"$work/haproxy.cfg" <<CONF
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend in
    bind 127.0.0.1:${port[haproxy]}
    default_backend recorder
backend recorder
    server recorder 127.0.0.1:${recorder[haproxy]}
CONF
nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" &
started+=($!)
apache2 -f "$work/apache/apache.conf" -D FOREGROUND &
started+=($!)
haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
started+=($!)

for name in "${!port[@]}"; do
    cat >>"$work/weir.toml" <<CONF
[[upstream]]
name = "$name"
url = "http://127.0.0.1:${port[$name]}"
door = "reverse"
hosts = ["$(printf '%-7s' "$name" | tr ' ' x).test"]
pass = ["/"]
CONF
done
start_weir --config "$work/weir.toml"

for name in nginx apache haproxy; do
    wait_for 60 curl -s -o "$work/answer" --fail "http://127.0.0.1:${port[$name]}/ready"
done
echo "$weir_at" >&3
code=0
wait "$compared" || code=$?
sed 's/^/  /' "$work/report"
same "everything that weir forwards is read alike by nginx, apache2 and haproxy" 0 "$code"
forwarded=$(grep -oP '\d+(?= requests forwarded)' "$work/report" || echo 0)
at_most "enough of it is forwarded to say something: at least 400 requests" "$forwarded" 400
closing
