"""One sample: a case's figures with what the server and the machine spent on them; and the checks that come before any figure counts."""

import http.client
import resource
import signal
import ssl
import threading
import time

from process import TICKS, read, wait_until

CHUNK = 1 << 20
#: A sample of hits may ask the origin so often: Traffic Server validates what is fresh now and then.
STRAY = 1
#: Bytes of a sector in /proc/diskstats, whatever the disk.
SECTOR = 512


def sample(shop, case, server, turn):
    """The figures of one turn of one server."""
    case.before(shop, server)
    mark = shop.origin.mark()
    before = Spent(shop, server)
    with Peak(server) as peak:
        figures = case.sample(shop, server, turn)
    after = Spent(shop, server)
    requests, taken = shop.origin.taken(mark)
    elapsed = after.time - before.time
    cpu = after.server - before.server
    known = cpu + after.origin - before.origin + after.clients - before.clients
    figures |= {
        "cpu_seconds": cpu,
        "memory": peak.bytes,
        "origin_requests": requests,
        "origin_bytes": taken,
        "disk_read_bytes": after.disk - before.disk,
        "foreign_cores": max(0.0, (after.machine - before.machine - known) / elapsed),
    }
    if figures.get("bytes"):
        figures["cpu_seconds_per_gb"] = cpu / (figures["bytes"] / 1e9)
    if figures.get("requests"):
        figures["cpu_us_per_request"] = cpu / figures["requests"] * 1e6
    figures["void"] = void(case, figures)
    return figures


def void(case, figures):
    """Why a sample does not count; nothing when it does."""
    if figures.get("wrong"):
        return f"{figures['wrong']} wrong answers"
    if figures.get("errors"):
        return f"{figures['errors']} errors"
    if case.hits and figures["origin_requests"] > STRAY:
        return f"{figures['origin_requests']} requests to the origin in a hit row"
    if case.small and 0.039 <= figures.get("p50", 0) <= 0.046:
        return "a median of 40 ms: delayed acknowledgements, not the server"
    return None


class Spent:
    """What has been spent so far, in CPU seconds and bytes."""

    def __init__(self, shop, server):
        self.time = time.monotonic()
        self.server = server.process.cpu_seconds() if server.process else 0
        self.origin = sum(process.cpu_seconds() for process in shop.origin.processes)
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        self.clients = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        user, nice, system, _, _, irq, softirq, *_ = (int(field) for field in read("/proc/stat").splitlines()[0].split()[1:])
        self.machine = (user + nice + system + irq + softirq) / TICKS
        disks = [line.split() for line in read("/proc/diskstats").splitlines()]
        self.disk = sum(int(fields[5]) * SECTOR for fields in disks if not fields[2].startswith(("loop", "ram")))


class Peak:
    """The most memory of its own that a server had while it was looked at. One that takes too much is killed, for the machine's sake."""

    PAUSE = 0.1
    LIMIT = 10 << 30

    def __init__(self, server):
        self.process = server.process
        self.bytes = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.over.wait(self.PAUSE):
            self.look()

    def look(self):
        self.bytes = max(self.bytes, self.process.memory())
        if self.bytes > self.LIMIT:
            self.process.stop(signal.SIGKILL)

    def __enter__(self):
        if self.process:
            self.look()
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        if self.process:
            self.thread.join()
            self.look()


def right_bytes(server, path, expected, tls=False, span=None):
    """Fails unless the server answers with exactly these bytes, or with this span of them."""
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port, timeout=60, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    begin, end = span or (0, len(expected))
    wanted = memoryview(expected)[begin:end]
    try:
        connection.request("GET", path, headers={"Range": f"bytes={begin}-{end - 1}"} if span else {})
        answer = connection.getresponse()
        got = 0
        while chunk := answer.read(CHUNK):
            if wanted[got : got + len(chunk)] != chunk:
                raise AssertionError(f"{server.name}: wrong bytes of {path} {span or ''} within {len(chunk)} after {got}")
            got += len(chunk)
        if (answer.status, got) != (206 if span else 200, len(wanted)):
            raise AssertionError(f"{server.name}: {path} {span or ''} gave status {answer.status} and {got} bytes")
    finally:
        connection.close()


def warm(shop, server, path, expected, tls=False):
    """Right bytes on the miss, right bytes again, and then right bytes without the origin."""
    right_bytes(server, path, expected, tls)

    def without_origin():
        mark = shop.origin.mark()
        right_bytes(server, path, expected, tls)
        return shop.origin.taken(mark)[0] == 0

    wait_until(without_origin, 30, f"{server.name} to answer {path} without the origin", 0.2)
