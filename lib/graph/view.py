"""What is shown of a walk: a few lines that stay at the foot of a terminal, a line now and then in a log."""

import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

LOG_SECONDS, TERMINAL_SECONDS = 60.0, 0.5
TAIL = 1000  # bytes
LEFT = re.compile(r" seed (\d+): .* ([\d:]+) of ([\d:]+) left")  # as lib.training.progress has it


class View:
    """Counts, and for each process where it runs, how long it has, and the last line of its log."""

    def __init__(self, stream: TextIO = sys.stderr):
        self.stream, self.live = stream, stream.isatty()
        self.began = self.shown = time.monotonic()
        self.lines = 0  # at the foot of the terminal

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(text, file=self.stream, flush=True)

    def show(self, states: list[str], running: int, parts: list) -> None:
        """Draw the present state, if the last drawing is old enough; running: stages, parts: their processes."""
        now = time.monotonic()
        if now - self.shown < (TERMINAL_SECONDS if self.live else LOG_SECONDS):
            return
        self.shown = now
        times = [left(last_line(part.log), part.seeds) for part in parts if part.seeds]
        text = summary(Counter(states), running, now - self.began, times)
        if not self.live:
            print(text, file=self.stream, flush=True)
            return
        width, height = shutil.get_terminal_size()
        rows = [
            f"  {part.name:<32} {part.device:>4} {duration(now - part.began):>8}  {last_line(part.log)}"
            for part in parts
        ]
        rows = [text, *rows[: height - 2]]
        self.clear()
        print(*(row[: width - 1] for row in rows), sep="\n", file=self.stream, flush=True)
        self.lines = len(rows)

    def clear(self) -> None:
        """Take the lines at the foot away."""
        if self.lines:
            self.stream.write(f"\x1b[{self.lines}F\x1b[J")
        self.lines = 0


def summary(states: Counter, running: int, seconds: float, left: list[float]) -> str:
    """One line about all stages. left: of those that run; what waits takes longer, how long nobody knows."""
    waiting = states["waiting"] - running
    text = f"{states['done']} of {states.total()} stages done, {running} running, {waiting} waiting"
    for state in ("failed", "skipped"):
        if states[state]:
            text += f", {states[state]} {state}"
    text += f"; {duration(seconds)} so far"
    return f"{text}, at least {duration(max(left))} left" if any(left) else text


def left(line: str, seeds: list[int]) -> float:
    """Seconds that a training still takes: of its present seed, by the last line of its log, and of those after it.

    0 where the line does not say.
    """
    found = LEFT.search(line)
    if not found:
        return 0.0
    seed, *times = found.groups()
    present, whole = (sum(int(part) * 60**power for power, part in enumerate(text.split(":")[::-1])) for text in times)
    return present + whole * (len(seeds) - 1 - seeds.index(int(seed)))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def last_line(log: Path) -> str:
    """The last line of a log that has text; "" without one."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
