"""Markdown tables as the tests read them."""


def cells(line: str) -> list[str]:
    """The cells of a markdown table's line."""
    return [cell.strip().replace("\u00a0", " ") for cell in line.strip().strip("|").split("|")]


def find(text: str, start: str) -> list[str]:
    """The cells of the only line that begins with `start`, without padding."""
    found = [cells(line) for line in text.splitlines() if cells(line)[0] == start]
    assert len(found) == 1, f"{len(found)} lines begin with {start}"
    return found[0]


def section(text: str, heading: str) -> str:
    """The part of a report from the heading that begins so to the next one of its level."""
    (part,) = [part for part in text.split("\n## ") if part.startswith(heading)]
    return part
