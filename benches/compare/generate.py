"""Load: wrk, and the helper `load/` for the clients that wrk cannot play. Returns figures; judges nothing."""

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).parent / "wrk"
THREADS = 2


def wrk(server, path, connections, seconds, script="hits", tls=False, settings=None, fields=()):
    """Figures of `seconds` of requests, as many as go, on so many connections."""
    url = f"https://127.0.0.1:{server.tls_port}{path}" if tls else f"http://127.0.0.1:{server.port}{path}"
    flags = [f"-t{THREADS}", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPTS / f"{script}.lua")]
    flags += [word for field in fields for word in ("-H", field)]
    environment = {name: str(value) for name, value in (settings or {}).items()} | {"COMPARE_SCRIPTS": str(SCRIPTS)}
    done = subprocess.run(["wrk", *flags, url], check=True, capture_output=True, text=True, env=os.environ | environment, timeout=seconds + 120)
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    figures["rate"] = figures["requests"] / figures["seconds"]
    figures["bytes_per_second"] = figures["bytes"] / figures["seconds"]
    return figures


def h2load(server, path, connections, streams, seconds):
    """The same over HTTP/2 and TLS, with so many streams on each connection; h2load knows no percentiles."""
    flags = [f"-t{THREADS}", f"-c{connections}", f"-m{streams}", f"-D{seconds}"]
    url = f"https://127.0.0.1:{server.tls_port}{path}"
    said = subprocess.run(["h2load", *flags, url], check=True, capture_output=True, text=True, timeout=seconds + 120).stdout
    good = int(re.search(r"(\d+) succeeded", said)[1])
    errors = sum(int(number) for number in re.findall(r"(\d+) (?:failed|timeout)", said))
    length = int(re.search(r"\((\d+)\) data", said)[1])
    return {"seconds": seconds, "requests": good, "bytes": length, "errors": errors, "rate": good / seconds, "bytes_per_second": length / seconds}


class Helper:
    """The program `load`."""

    def __init__(self, program):
        self.program = program

    def run(self, command, server, **words):
        """One command to its end; its figures."""
        done = subprocess.run(self.line(command, server, words), check=True, stdout=subprocess.PIPE, text=True, timeout=600)
        figures = json.loads(done.stdout.strip().splitlines()[-1])
        if figures["seconds"]:
            figures["bytes_per_second"] = figures["bytes"] / figures["seconds"]
            figures["rate"] = figures["answers"] / figures["seconds"]
        return figures

    @contextmanager
    def beside(self, command, server, ready=None, **words):
        """A command that runs while something else is measured; gives a function that ends its input and waits for its figures."""
        running = subprocess.Popen(self.line(command, server, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def figures():
            return json.loads(running.communicate(timeout=600)[0].strip().splitlines()[-1])

        try:
            if ready:
                line = running.stdout.readline().strip()
                if line != ready:
                    raise RuntimeError(f"load {command} said {line!r}")
            yield figures
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGKILL)
            running.wait()

    def line(self, command, server, words):
        return [str(self.program), command, f"to=127.0.0.1:{server.port}", *(f"{name}={value}" for name, value in words.items())]
