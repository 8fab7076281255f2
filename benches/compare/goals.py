"""What a case must reach: a goal knows how to be reckoned from the samples of all servers, and says it in a few words.

Ratios are paired: the median over the turns of weir's figure by the other's in the same turn. More is better in every figure of a ratio.
"""

from dataclasses import dataclass
from statistics import median

US = "weir"
DIRECT = "direct"


#: How a figure is called in a goal; the plain rate of a row needs no name.
NAMES = {
    "rate": "",
    "bytes_per_second": "",
    "cpu_us_per_request": "CPU for a request",
    "undisturbed_share": "share of the undisturbed rate",
    "memory_growth": "growth of its own memory",
    "memory": "its own memory",
    "memory_per_object": "memory for an object",
    "pieces_per_second": "cold ranges",
    "origin_share": "bytes from the origin, by the size",
    "first_byte_p99": "first byte, p99",
    "after_term": "first hit after a restart by SIGTERM",
    "after_kill": "first hit after SIGKILL and a start",
    "lost": "objects lost that were stored a second before SIGKILL",
}


@dataclass(frozen=True)
class Reached:
    """A value, how it reads, and whether it is enough; no value when nothing could be compared."""

    value: float | None
    text: str
    enough: bool


@dataclass(frozen=True)
class Ratio:
    """At least `bound` times the best rival, or the rival `to`."""

    figure: str
    bound: float
    to: str | None = None

    def __str__(self):
        return f"{NAMES[self.figure]} ≥ {self.bound:g} × {self.to or 'the best'}".strip()

    def reckon(self, samples):
        ratios = {name: pairs(samples, name, self.figure) for name in samples if name == self.to or (not self.to and name not in (US, DIRECT))}
        ratios = {name: each for name, each in ratios.items() if each}
        if not ratios:
            return Reached(None, "nothing to compare", False)
        best = min(ratios, key=lambda name: median(ratios[name]))
        value = median(ratios[best])
        spread = f"{min(ratios[best]):.2f}–{max(ratios[best]):.2f}"
        return Reached(value, f"{value:.2f} × {best} ({spread})", value >= self.bound)


@dataclass(frozen=True)
class Bound:
    """weir's figure, its median over the turns, is at most (or at least) `bound`."""

    figure: str
    bound: float
    unit: str
    least: bool = False
    scale: float = 1

    def __str__(self):
        return f"{NAMES[self.figure]} {'≥' if self.least else '≤'} {self.bound:g}{self.unit}"

    def reckon(self, samples):
        values = [each[self.figure] * self.scale for each in samples.get(US, {}).values() if self.figure in each]
        if not values:
            return Reached(None, "not measured", False)
        value = median(values)
        return Reached(value, f"{value:.3g}{self.unit}", value >= self.bound if self.least else value <= self.bound)


def pairs(samples, name, figure):
    """weir's figure by another's, in each turn that both have."""
    ours, theirs = samples.get(US, {}), samples.get(name, {})
    return [ours[turn][figure] / theirs[turn][figure] for turn in ours if turn in theirs and theirs[turn].get(figure) and figure in ours[turn]]
