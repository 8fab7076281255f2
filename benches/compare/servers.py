"""The servers compared: how each is configured, started, ended. What is common, weir, and nginx in its tunings; the others are in rivals.py.

Every configuration is meant to be the best its documentation knows for this work: two workers, no access log, a cache on disk where it has one.
"""

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from process import Process, free_port, listens, read, wait_until

# Smaller files are no content that a case reads ranges of.
LARGE = 16 << 20
BLOCK = bytearray(1 << 20)


@dataclass(frozen=True)
class Place:
    """Where a server works: its directory, its origin's port, and a certificate with its key."""

    directory: Path
    origin_port: int
    certificate: Path
    key: Path
    weir: Path


class Server:
    """One server. Subclasses say `name`, `configure` and `command`."""

    name = ""
    has_tls = True
    #: Whether what is stored is there after a restart.
    keeps = True
    #: Memory that is set aside for content, in bytes, where that is little: it counts for no object. Who keeps all content in memory has none.
    content_memory = 0
    #: Whether it serves large content from the page cache.
    uses_page_cache = True

    def __init__(self, place):
        self.place = place
        self.directory = place.directory / self.name
        self.port, self.tls_port = free_port(), free_port()
        self.process = None

    def configure(self):
        """Writes what it reads at its start."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def prepare(self):
        self.directory.mkdir(parents=True)
        self.configure()

    def start(self):
        """Starts it and waits until it listens."""
        self.process = Process(self.command(), self.directory / "log", self.environment(), self.directory)
        wait_until(self.answers, 30, f"{self.name}, see {self.directory}/log", 0.002)

    def answers(self):
        if self.process.popen.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.process.log.read_text(errors='replace')[-2000:]}")
        return listens(self.port) and (not self.has_tls or listens(self.tls_port))

    def stop(self, number=signal.SIGTERM):
        if self.process:
            self.process.stop(number)
            self.process = None

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def large_files(self):
        """The files its content is in."""
        files = (Path(parent) / name for parent, _, names in os.walk(self.directory) for name in names)
        return [file for file in files if file.stat().st_size >= LARGE]

    def read_back(self):
        """Reads what is in the page cache, or was: a virtual machine's idle pages may be gone within seconds."""
        if self.uses_page_cache:
            for file in self.large_files():
                with file.open("rb", buffering=0) as content:
                    while content.readinto(BLOCK):
                        pass

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


class Direct(Server):
    """No server at all: the origin itself."""

    name = "direct"

    def prepare(self):
        self.port = self.place.origin_port

    def start(self):
        pass

    def remove(self):
        pass


class Weir(Server):
    name = "weir"
    content_memory = 64 << 20

    def configure(self):
        place = self.place
        self.write("weir.toml", f"""
[[listen]]
address = "127.0.0.1:{self.port}"
doors = ["reverse"]
[[listen]]
address = "127.0.0.1:{self.tls_port}"
doors = ["reverse"]
tls = true
[[certificate]]
chain = "{place.certificate}"
key = "{place.key}"
[store]
directory = "{self.directory}/data"
size = "40 GiB"
reserve = "1 GiB"
memory = "{self.content_memory >> 20} MiB"
[[upstream]]
name = "origin"
url = "http://127.0.0.1:{place.origin_port}"
door = "reverse"
[admin]
listen = ["127.0.0.1:{free_port()}"]
[log]
access = "off"
""" + read(os.environ.get("WEIR_MORE", os.devnull)))

    def command(self):
        return [self.place.weir, "serve", "--config", self.directory / "weir.toml"]


class Nginx(Server):
    """proxy_cache. `tcp_nopush` stays off: with it a small response stalls 40 ms on loopback."""

    name = "nginx-sendfile"
    sending = "sendfile on;"
    location = "proxy_cache_key $uri;"

    def configure(self):
        place, work = self.place, self.directory
        temporary = "".join(f"{kind}_temp_path {work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.write("nginx.conf", f"""
daemon off;
user root;
pid {work}/pid;
error_log {work}/error.log;
worker_processes 2;
worker_rlimit_nofile 16384;
events {{ worker_connections 8000; multi_accept on; }}
http {{
    access_log off;
    {self.sending}
    tcp_nopush off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 300;
    open_file_cache max=6000 inactive=10m;
    open_file_cache_valid 10m;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.key};
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:10m;
    {temporary}
    proxy_cache_path {work}/cache levels=2:2 keys_zone=content:256m max_size=40g inactive=7d use_temp_path=off;
    upstream origin {{ server 127.0.0.1:{place.origin_port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096 reuseport;
        listen 127.0.0.1:{self.tls_port} backlog=4096 reuseport ssl http2;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache content;
            proxy_cache_valid 200 206 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
            proxy_read_timeout 60s;
            send_timeout 120s;
            {self.location}
        }}
    }}
}}
""")

    def command(self):
        return ["nginx", "-p", self.directory, "-c", self.directory / "nginx.conf"]


class NginxBuffers(Nginx):
    """Large user-space buffers in place of sendfile: the faster one for large bodies on loopback."""

    name = "nginx-buffers"
    sending = "sendfile off; output_buffers 2 512k;"


class NginxThreads(Nginx):
    """Reads in threads: for content that is not in memory."""

    name = "nginx-threads"
    sending = "sendfile on; sendfile_max_chunk 512k; aio threads;"


class NginxSlices(Nginx):
    """1 MiB slices: the only way in which nginx shares ranges of what it does not have yet. With sendfile: every slice of a request keeps
    its output buffers until the request ends, which took 22 GB for 200 clients."""

    name = "nginx-slices"
    location = "slice 1m; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;"


def restarted(server, number, first_hit):
    """Seconds from the start of `server`, ended with `number` before, to the moment `first_hit` succeeds."""
    server.stop(number)
    began = time.monotonic()
    server.start()
    wait_until(first_hit, 60, f"{server.name}'s first hit", 0.002)
    return time.monotonic() - began
