"""The origin all servers fetch from: nginx with generated files in memory, on one worker; its access log says what was taken."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from process import Process, free_port, listens, wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = {"1k": KIB, "64k": 64 * KIB, "1m": MIB, "100m": 100 * MIB, "256m": 256 * MIB, "1g": GIB}
# A week: what changed a moment ago is fresh for a moment only.
AGE = 7 * 86_400
SMALL = 4 * KIB
HELD = 20 * MIB
LINE = 100_000_000

CONFIGURATION = """
daemon off;
user root;
pid {work}/origin.pid;
error_log {work}/origin.error;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4000; }}
http {{
    log_format taken '$body_bytes_sent "$uri" $status "$http_range"';
    access_log {work}/origin.access taken;
    default_type application/octet-stream;
    sendfile on;
    keepalive_requests 1000000;
    keepalive_timeout 300;
    add_header Cache-Control "max-age=604800";
    client_body_temp_path {work}/origin.body;
    proxy_temp_path {work}/origin.proxy;
    fastcgi_temp_path {work}/origin.fastcgi;
    uwsgi_temp_path {work}/origin.uwsgi;
    scgi_temp_path {work}/origin.scgi;
    root {files};
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        # The same file under as many names as wanted: /cold/TURN/FILE.cab.
        rewrite ^/cold/[^/]+/(.+)[.]cab$ /$1 break;
        # 4 KiB: the path of 16 bytes, 256 times.
        location /many/ {{
            add_header ETag '"1"';
            add_header Last-Modified "Tue, 10 Nov 2026 18:00:00 GMT";
            add_header Cache-Control "max-age=604800";
            return 200 "{many}";
        }}
    }}
    server {{
        listen 127.0.0.1:{held_port} backlog=4096;
        rewrite ^/cold/[^/]+/(.+)[.]cab$ /$1 break;
        limit_rate {held};
    }}
}}
"""


class Origin:
    """Three doors to the same content: as fast as it goes, `HELD` bytes a second for each connection, and behind a line of `LINE` bytes a second."""

    def __init__(self, work, helper):
        self.work = Path(work)
        self.helper = helper
        # Memory where there is some, so that the origin never waits for the disk that the servers use.
        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * GIB
        self.files = Path(tempfile.mkdtemp(prefix="weir-compare.", dir=memory if roomy else self.work))
        self.port, self.held_port, self.line_port = free_port(), free_port(), free_port()
        self.seeds = {}
        self.processes = []

    def start(self):
        configuration = self.work / "origin.conf"
        settings = {"work": self.work, "files": self.files, "port": self.port, "held_port": self.held_port, "held": HELD}
        configuration.write_text(CONFIGURATION.format(many="$uri" * (SMALL // 16), **settings))
        self.log = self.work / "origin.access"
        self.log.touch()
        self.processes.append(Process(["nginx", "-p", self.work, "-c", configuration], self.work / "origin.log"))
        line = [self.helper, "throttle", f"listen=127.0.0.1:{self.line_port}", f"to=127.0.0.1:{self.port}", f"rate={LINE}"]
        self.processes.append(Process(line, self.work / "line.log"))
        for port in (self.port, self.held_port, self.line_port):
            wait_until(lambda port=port: listens(port), 10, f"the origin, see {self.work}/origin.log")

    def stop(self):
        for process in self.processes:
            process.stop()
        shutil.rmtree(self.files, ignore_errors=True)

    def provide(self, name, seed=1):
        """Makes the file `name` have the content of `seed`. Written in place: fresh memory costs a virtual machine dear."""
        if self.seeds.get(name) == seed:
            return
        file = self.files / name
        subprocess.run([self.helper, "write", f"file={file}", f"seed={seed}", f"len={SIZES[name]}"], check=True, stdout=subprocess.DEVNULL)
        # Other content is another version: its date, and so its ETag, differ.
        date = time.time() - AGE - seed
        os.utime(file, (date, date))
        self.seeds[name] = seed

    def mark(self):
        """A place in the log, for `taken`."""
        self.settle()
        return self.log.stat().st_size

    def taken(self, mark):
        """Requests and bytes of content given out since `mark`."""
        self.settle()
        with self.log.open("rb") as log:
            log.seek(mark)
            sizes = [int(line.split(b" ", 1)[0]) for line in log if b" " in line]
        return len(sizes), sum(sizes)

    def settle(self):
        """Waits, at most 5 s, until the log is at rest: a line is written when a response ends."""
        until = time.monotonic() + 5
        size = -1
        while size != (size := self.log.stat().st_size) and time.monotonic() < until:
            time.sleep(0.1)


def expected(origin, path):
    """The bytes of `path`, as the origin has them."""
    if path.startswith("/many/"):
        return (path * (SMALL // len(path))).encode()
    return (origin.files / path.rpartition("/")[2].removesuffix(".cab")).read_bytes()
