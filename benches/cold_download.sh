#!/usr/bin/env bash
# Cold download: one client, 256 MiB that nobody has yet, an unthrottled origin. weir against nginx's proxy_cache and against no proxy at all,
# in turns, each time another file. Prints medians in seconds and fails when weir's is more than 5 % above nginx's.

. "$(dirname "$0")/../tests/real/lib.sh"

rounds=${ROUNDS:-7}
start_origin
rival_port=$(free_ports 1)
mkdir -p "$work/rival"
cat >"$work/rival/nginx.conf" <<CONF
daemon off;
user root;
pid $work/rival/pid;
error_log $work/rival/error.log;
worker_processes auto;
events { worker_connections 1000; }
http {
    access_log off;
    sendfile on;
    proxy_cache_path $work/rival/cache levels=2:2 keys_zone=rival:10m max_size=20g use_temp_path=off;
    client_body_temp_path $work/rival/body;
    proxy_temp_path $work/rival/proxy;
    fastcgi_temp_path $work/rival/fastcgi;
    uwsgi_temp_path $work/rival/uwsgi;
    scgi_temp_path $work/rival/scgi;
    server {
        listen 127.0.0.1:$rival_port;
        location / {
            proxy_pass http://127.0.0.1:$origin_port;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache rival;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
        }
    }
}
CONF
nginx -p "$work/rival" -c "$work/rival/nginx.conf" &
started+=($!)
start_weir --allow "$update_host=127.0.0.1:$origin_port" --size "50 GiB"
files=$work/www/filestreamingservice/files
mkdir -p "$files"

seconds() { curl -sSf -o /dev/null -w '%{time_total}\n' "$1"; }
median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

for ((round = 1; round <= rounds; round++)); do
    generate "$files/$round" 256
    cat "$files/$round" >/dev/null
    seconds "http://127.0.0.1:$origin_port/filestreamingservice/files/$round" >>"$work/direct"
    if ((round % 2)); then order=(weir nginx); else order=(nginx weir); fi
    for proxy in "${order[@]}"; do
        case $proxy in
            weir) seconds "http://$weir_at$(update_at "$round")" >>"$work/weir" ;;
            nginx) seconds "http://127.0.0.1:$rival_port/filestreamingservice/files/$round" >>"$work/nginx-cache" ;;
        esac
    done
    rm "$files/$round"
done
for way in direct nginx-cache weir; do printf '  %-12s %s s   (of %s)\n' "$way" "$(median "$work/$way")" "$(sort -n "$work/$way" | tr '\n' ' ')"; done
holds "weir is not slower than nginx" awk -v nginx="$(median "$work/nginx-cache")" -v weir="$(median "$work/weir")" 'BEGIN { exit !(weir <= nginx * 1.05) }'
closing
