"""What is measured on and with: the machine, the date, the versions."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from process import read

COMMANDS = {
    "nginx": ["nginx", "-v"],
    "Varnish": ["varnishd", "-V"],
    "Traffic Server": ["traffic_server", "-V"],
    "Squid": ["squid", "-v"],
    "wrk": ["wrk", "-v"],
}


def facts():
    memory = int(re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))[1]) / (1 << 20)
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    system = re.search(r'PRETTY_NAME="(.*)"', read("/etc/os-release"))
    cores = f"{os.cpu_count()} × {model[1] if model else platform.machine()}"
    virtual = " (virtual machine)" if "hypervisor" in read("/proc/cpuinfo") else ""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{cores}{virtual}, {memory:.0f} GiB, Linux {platform.release()}, {system[1] if system else 'unknown system'}",
        "versions": {name: version(command) for name, command in COMMANDS.items()} | {"weir": weir()},
    }


def version(command):
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else "?"


def weir():
    binary = Path(os.environ["WEIR"])
    return f"{version([binary, '--version'])} ({revision(binary)})"


def revision(binary):
    """Of the tree that the binary is from, when it is this one."""
    root = Path(__file__).parents[2]
    if binary != root / "target" / "release" / "weir":
        return "a binary of another tree"
    done = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=9"], capture_output=True, text=True)
    return done.stdout.strip() or "no revision"
