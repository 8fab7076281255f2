"""RESULTS.md out of the samples that were kept: goals and what was reached, what was missed, and every server's figures."""

import json
from statistics import median

from goals import US, Reached

HEAD = """# weir beside its rivals

Written by `benches/compare/run.sh`; every line can be measured again by `benches/compare/run.sh CASE`. All servers, the origin and the clients share the
machine's cores and talk over loopback, so figures say something only beside the others of their row. Servers take turns; a ratio is the median over the
turns of weir's figure by the best rival's in the same turn, with the lowest and the highest in brackets. A sample counts only if the bytes were right
and, in a row of hits, if the origin was not asked.

"""


def table(cases, results):
    runs, samples, once, failures = load(results)
    measured = [case for case in cases if case.key in runs]
    if not measured:
        return HEAD + "Nothing measured yet.\n"
    parts = [HEAD, conditions(runs), "## Goals\n\n| case | goal | reached | |\n| --- | --- | --- | --- |\n"]
    missed = []
    for case in measured:
        if US not in samples.get(case.key, {}):
            missed.append((case, "any figure of weir's", Reached(None, "none", False)))
            continue
        for goal in case.goals:
            reached = goal.reckon(merged(samples.get(case.key, {}), once.get(case.key, {})))
            parts.append(f"| {case.title} | {goal} | {reached.text} | {'yes' if reached.enough else '**no**'} |\n")
            if not reached.enough:
                missed.append((case, goal, reached))
    parts.append("\n## Missed\n\n" + ("".join(miss(*each) for each in missed) or "None.\n"))
    parts.append("\n## All figures\n\nMedian (lowest–highest) over the turns.\n")
    for case in measured:
        parts.append(figures(case, runs[case.key], samples.get(case.key, {}), once.get(case.key, {}), failures.get(case.key, [])))
    return "".join(parts)


def load(results):
    """By case: what it ran on, samples by server and turn, figures measured once by server, failures."""
    runs, samples, once, failures = {}, {}, {}, {}
    for file in sorted(results.glob("*.jsonl")):
        for record in map(json.loads, file.read_text().splitlines()):
            key, kind = record["case"], record["kind"]
            if kind == "run":
                runs[key] = record
            elif kind == "once":
                once.setdefault(key, {})[record["server"]] = record
            elif kind == "failed" or record.get("void"):
                failures.setdefault(key, []).append(record)
            else:
                samples.setdefault(key, {}).setdefault(record["server"], {})[record["turn"]] = record
    return runs, samples, once, failures


def merged(samples, once):
    """Samples with what was measured once in each of them."""
    return {server: {turn: each | numbers(once.get(server, {})) for turn, each in turns.items()} for server, turns in samples.items()}


def numbers(record):
    return {name: value for name, value in record.items() if isinstance(value, (int, float))}


def conditions(runs):
    last = max(runs.values(), key=lambda each: each["date"])
    dates = sorted({each["date"] for each in runs.values()})
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    revisions = sorted({each["versions"]["weir"] for each in runs.values()})
    also = f" Rows were measured with weir {' and '.join(revisions)}." if len(revisions) > 1 else ""
    return f"Machine: {last['machine']}. Measured: {', '.join(dates)}. {versions}.{also}\n\n"


def miss(case, goal, reached):
    why = f" {case.missed}" if case.missed else ""
    return f"- {case.title}: {goal}; reached {reached.text}.{why}\n"


def figures(case, run, samples, once, failures):
    samples = merged(samples, once)
    shown = [name for name in case.shows if any(name in each for turns in samples.values() for each in turns.values())]
    lines = [f"\n### {case.title}\n\n`{case.key}`, {run['turns']} turns"]
    foreign = [each["foreign_cores"] for turns in samples.values() for each in turns.values()]
    if foreign:
        lines.append(f"; cores busy with other work: {median(foreign):.1f} ({min(foreign):.1f}–{max(foreign):.1f})")
    lines.append(f"\n\n| server | {' | '.join(TITLES[name] for name in shown)} |\n|{' --- |' * (len(shown) + 1)}\n")
    for server, turns in samples.items():
        cells = (cell(name, [each[name] for each in turns.values() if name in each]) for name in shown)
        lines.append(f"| {server} | {' | '.join(cells)} |\n")
    if failures:
        lines.append("\n")
    for each in failures:
        turn = f", turn {each['turn'] + 1}" if each.get("turn") is not None else ""
        lines.append(f"- {each['server']}{turn}: {each.get('void') or each.get('reason')}\n")
    return "".join(lines)


def cell(name, values):
    if not values:
        return "–"
    write = WRITTEN[name]
    if min(values) == max(values):
        return write(values[0])
    return f"{write(median(values))} ({write(min(values))}–{write(max(values))})"


#: Title and way of writing of every figure that is shown.
SHOWN = {
    "rate": ("requests/s", lambda value: f"{value:,.0f}"),
    "bytes_per_second": ("GB/s", lambda value: f"{value / 1e9:.2f}"),
    "seconds": ("s", lambda value: f"{value:.2f}"),
    "p50": ("p50 ms", lambda value: f"{value * 1e3:.2f}"),
    "p99": ("p99 ms", lambda value: f"{value * 1e3:.2f}"),
    "first_byte_p50": ("first byte p50 ms", lambda value: f"{value * 1e3:.0f}"),
    "first_byte_p99": ("first byte p99 ms", lambda value: f"{value * 1e3:.0f}"),
    "cpu_us_per_request": ("CPU µs/request", lambda value: f"{value:.1f}"),
    "cpu_seconds_per_gb": ("CPU s/GB", lambda value: f"{value:.3f}"),
    "memory": ("own memory, MB", lambda value: f"{value / 1e6:.0f}"),
    "memory_growth": ("memory grew by, MB", lambda value: f"{value / 1e6:.0f}"),
    "memory_per_object": ("memory an object (weir: beyond its 64 MiB for content), B", lambda value: f"{value:.0f}"),
    "undisturbed_share": ("share of undisturbed", lambda value: f"{value:.2f}"),
    "starved": ("reads that found nothing", lambda value: f"{value:.0f}"),
    "pieces_per_second": ("cold ranges/s", lambda value: f"{value:.0f}"),
    "disk_read_bytes": ("read from disk, MB", lambda value: f"{value / 1e6:.0f}"),
    "origin_bytes": ("from the origin, MB", lambda value: f"{value / 1e6:.0f}"),
    "origin_share": ("bytes from the origin by size", lambda value: f"{value:.3f}"),
    "fills_per_second": ("misses/s", lambda value: f"{value:,.0f}"),
    "after_term": ("first hit after SIGTERM, s", lambda value: f"{value:.2f}"),
    "after_kill": ("after SIGKILL, s", lambda value: f"{value:.2f}"),
    "lost": ("objects lost by SIGKILL", lambda value: f"{value:,.0f}"),
}
TITLES = {name: title for name, (title, _) in SHOWN.items()}
WRITTEN = {name: write for name, (_, write) in SHOWN.items()}
