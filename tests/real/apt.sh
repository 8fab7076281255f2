#!/usr/bin/env bash
# apt through weir: real Debian packages from a repository of our own, updated and installed through the forward and the reverse door.
#
# One package is really installed, and removed again. apt works on lists and caches of its own; the system's are not touched.

. "$(dirname "$0")/lib.sh"

need curl curl apt-ftparchive apt-utils dpkg-deb dpkg
# Small and large ones that need nothing a minimal system lacks.
packages=(hello figlet fonts-dejavu-core iso-codes unicode-data)
arch=$(dpkg --print-architecture)
repository=$work/www/debian
mkdir -p "$repository/pool"
(cd "$repository/pool" && apt-get -q download "${packages[@]}" >"$work/download.log" 2>&1) || {
    apt-get -q update >>"$work/download.log" 2>&1
    (cd "$repository/pool" && apt-get -q download "${packages[@]}" >>"$work/download.log" 2>&1) ||
        skip "no Debian mirror can be reached: $(tail -n 1 "$work/download.log")"
}
start_origin

# publish WHEN: indexes what is in the pool, as an archive does. HTTP dates have seconds: two publications have to be further apart.
publish() (
    cd "$repository"
    mkdir -p "dists/test/main/binary-$arch"
    apt-ftparchive packages pool >"dists/test/main/binary-$arch/Packages"
    gzip -kf "dists/test/main/binary-$arch/Packages"
    apt-ftparchive -o APT::FTPArchive::Release::Suite=test -o APT::FTPArchive::Release::Components=main \
        -o "APT::FTPArchive::Release::Architectures=$arch" release dists/test >"$work/Release"
    mv "$work/Release" dists/test/Release
    find dists -type f -exec touch -d "$1" {} +
)

# computer NAME URL PROXY: a fresh apt, with sources.list pointing to URL.
computer() {
    home=$work/$1
    mkdir -p "$home"/{etc/apt.conf.d,etc/preferences.d,etc/sources.list.d,etc/trusted.gpg.d,state/lists/partial,cache/archives/partial}
    echo "deb [trusted=yes arch=$arch] $2 test main" >"$home/etc/sources.list"
    cat >"$home/apt.conf" <<CONF
Dir::Etc "$home/etc";
Dir::State "$home/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$home/cache";
Dir::Log "$home";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy "$3";
CONF
    export APT_CONFIG=$home/apt.conf
}

# downloaded CLAIM: every package is in this computer's cache, as it is in the pool.
downloaded() {
    local wrong=0 file
    for file in "$repository"/pool/*.deb; do
        cmp -s "$file" "$home/cache/archives/$(basename "$file")" || wrong=$((wrong + 1))
    done
    same "$1" "0 wrong" "$wrong wrong"
}

pool_bytes() { cat "$repository"/pool/*.deb | wc -c; }

fetch() { apt-get -q --reinstall --no-install-recommends --download-only install "${packages[@]}"; }

publish "1 hour ago"
start_weir --reverse "http://127.0.0.1:$origin_port" --allow "packages.example=127.0.0.1:$origin_port"
forward=(http://packages.example/debian "http://$weir_at/")
reverse=("http://$weir_at/debian" DIRECT)

echo "forward door"
computer forward-1 "${forward[@]}"
holds "apt-get update" apt-get -q update
holds "apt-get install, downloads" fetch
downloaded "the packages are right"
computer forward-2 "${forward[@]}"
holds "a second computer: update" apt-get -q update
holds "a second computer: install, downloads" fetch
downloaded "the packages are right"
at_most "the origin sent the packages once" "$(pool_bytes)" "$(origin_bytes .deb)"

echo "interrupted download"
computer forward-3 "${forward[@]}"
apt-get -q update >/dev/null
file=$(basename "$repository"/pool/hello_*.deb)
head -c 20000 "$repository/pool/$file" >"$home/cache/archives/partial/$file"
touch -r "$repository/pool/$file" "$home/cache/archives/partial/$file"
holds "apt resumes with If-Range" apt-get -q --reinstall --no-install-recommends --download-only install hello
holds "the package is right" cmp "$repository/pool/$file" "$home/cache/archives/$file"

echo "a changed repository"
rm "$repository"/pool/figlet_*.deb
packages=(hello fonts-dejavu-core iso-codes unicode-data)
publish now
computer forward-2 "${forward[@]}"
holds "apt-get update" apt-get -q update
same "a package that was withdrawn is gone" "" "$(apt-cache -q pkgnames | grep -x figlet || true)"

echo "reverse door"
computer reverse-1 "${reverse[@]}"
holds "apt-get update" apt-get -q update
holds "apt-get install, downloads" fetch
downloaded "the packages are right"
computer reverse-2 "${reverse[@]}"
holds "a second computer: update" apt-get -q update
holds "a second computer: install, downloads" fetch
downloaded "the packages are right"
at_most "the origin sent the packages once more at most" "$(($(pool_bytes) * 2 + 200000))" "$(origin_bytes .deb)"

echo "installed for real"
if dpkg-query -W -f '${db:Status-Status}' hello 2>/dev/null | grep -qx installed; then had_hello=yes; else had_hello=; fi
export DEBIAN_FRONTEND=noninteractive
for door in forward reverse; do
    computer "$door-2" $([[ $door == forward ]] && echo "${forward[@]}" || echo "${reverse[@]}")
    rm -f "$home"/cache/archives/*.deb
    holds "$door: apt-get install hello" apt-get -q --reinstall install hello
    same "$door: hello says hello" "Hello, world!" "$(hello)"
done
[[ -n $had_hello ]] || dpkg --purge hello >/dev/null
closing
