"""Processes that were started here: their end, their CPU time, their memory. Never touches any other."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MADV_PAGEOUT = 21
SYS_PROCESS_MADVISE = 440
DRAIN_SECONDS = 30


class Process:
    """A process and all its descendants."""

    def __init__(self, command, log, environment=None, directory=None):
        self.log = Path(log)
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | (environment or {}),
                cwd=directory,
                start_new_session=True,
            )

    def pids(self):
        """The process and its descendants, as of now."""
        children = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := stat(entry.name)):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.popen.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu_seconds(self):
        """User and system time of all of them so far."""
        fields = [stat(pid) for pid in self.pids()]
        return sum(int(each[11]) + int(each[12]) for each in fields if each) / TICKS

    def memory(self):
        """Bytes of memory of their own: anonymous, and shared between them. Pages of files do not count."""
        total = 0
        shared = []
        for pid in self.pids():
            sizes = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("Rss"))
            total += kibibytes(sizes.get("RssAnon"))
            shared.append(kibibytes(sizes.get("RssShmem")))
        # The same shared pages are in every process that touched them.
        return total + max(shared, default=0)

    def stop(self, number=signal.SIGTERM):
        """Ends all of them; SIGKILL reaches every one, other signals the first, which ends its own."""
        pids = self.pids()
        for pid in pids if number == signal.SIGKILL else pids[:1]:
            kill(pid, number)
        try:
            self.popen.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        for pid in pids:
            kill(pid, signal.SIGKILL)
        self.popen.wait()
        for pid in pids[1:]:
            wait_until(lambda pid=pid: not stat(pid) or stat(pid)[0] == "Z", 10)

    def evict(self, files):
        """Takes the pages of these files out of memory: out of the mappings first, which posix_fadvise leaves alone."""
        for pid in self.pids():
            page_out(pid, {str(file) for file in files})
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stat(pid):
    """The fields of /proc/PID/stat after the name: state, parent, …; nothing when the process is gone."""
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def read(path):
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def kibibytes(text):
    return int(text.split()[0]) * 1024 if text else 0


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def page_out(pid, files):
    """Pages out what `pid` has mapped of these files."""
    libc = ctypes.CDLL(None, use_errno=True)
    lines = [line.split(maxsplit=5) for line in read(f"/proc/{pid}/maps").splitlines()]
    mapped = [line[0] for line in lines if len(line) == 6 and line[5] in files]
    if not mapped:
        return
    descriptor = os.pidfd_open(pid)
    try:
        for span in mapped:
            begin, end = (int(bound, 16) for bound in span.split("-"))
            vector = Iovec(begin, end - begin)
            # What cannot be paged out stays; the disk reads of the row show it.
            libc.syscall(SYS_PROCESS_MADVISE, descriptor, ctypes.byref(vector), ctypes.c_size_t(1), MADV_PAGEOUT, 0)
    finally:
        os.close(descriptor)


def free_port():
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def wait_until(condition, seconds, what="a condition", pause=0.02):
    """Waits, with an end."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)
