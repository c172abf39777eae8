"""Markdown as a repository's page shows it: tables without padding, folded parts, numbers as text."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A pipe table whose first columns are text and whose others are numbers.

    No cell is padded, so that a number which changes changes its own line only.
    """
    marks = [":--" if column < text_columns else "--:" for column in range(len(header))]
    lines = [header, marks, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def folded(summary: str, *blocks: str) -> str:
    """Blocks that are shown when the summary is clicked."""
    return "\n\n".join([f"<details><summary>{summary}</summary>", *(block for block in blocks if block), "</details>"])


def bullets(sentences: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"* {sentence}" for sentence in sentences)


def grouped(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of the first texts, each once, with the different second ones of each in a list below it."""
    groups: dict[str, dict[str, None]] = {}
    for first, second in pairs:
        groups.setdefault(first, {})[second] = None
    return bullets("\n  * ".join([first, *others]) for first, others in groups.items())


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus; no sign where it rounds to zero."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def with_spread(value: float, spread: float | None, decimals: int = 1) -> str:
    """`43.2 ± 0.4`, or `43.2` where no spread is known; held together by no-break spaces."""
    text = f"{value:.{decimals}f}".replace("-", "−")
    return text if spread is None else f"{text}\u00a0±\u00a0{spread:.{decimals}f}"


def number(text: str) -> bool:
    """Whether a printed cell holds a number."""
    return text.replace(".", "", 1).isdigit()


def decimals_of(text: str) -> int:
    """How many decimals a printed cell shows."""
    return len(text.partition(".")[2])
