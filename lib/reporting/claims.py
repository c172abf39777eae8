"""Claims: the gain that a paper prints, those of others and ours, and whether ours shows what the paper says."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from lib.metrics.scores import HEADLINE, unit_of
from lib.papers import Claim, Paper
from lib.reporting import paired_differences, seed_scores
from lib.reporting.markdown import grouped, markdown, signed
from lib.reporting.noise import interval

SEEN, NOT_SEEN, OPPOSITE, TOO_FEW, NOT_RUN = "seen", "not seen", "opposite", "too few seeds", "not run"
REAL, DRAWN = "the benchmark's", "drawn"  # images
RULE = (
    "Gains are paired, seed by seed: points of the benchmark's number, or mm of error less; positive is better. In "
    "brackets the 95 % interval by Student's t and the number of seeds. *seen*: the interval lies above zero; "
    "*opposite*: below it; *not seen*: with three seeds or more it holds zero, and not the paper's gain where there is "
    "one; *too few seeds*: all else."
)


def verdict(differences: Sequence[float], gain: float | None) -> str:
    """What paired gains by seed say about a paper's claim; gain: the paper's own, None where it prints none."""
    if not differences:
        return NOT_RUN
    if len(differences) == 1:
        return TOO_FEW
    low, high = interval(differences)
    if low > 0:
        return SEEN
    if high < 0:
        return OPPOSITE
    undecided = len(differences) == 2 or (gain is not None and low <= gain <= high)
    return TOO_FEW if undecided else NOT_SEEN


def records(paper: Paper, details: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """A record of each claim, all text, as published studies keep it in claims.csv; details: of the trained runs."""
    return [record(claim, paper, details) for claim in paper.claims]


def record(claim: Claim, paper: Paper, details: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What was claimed, and what came out by seed, as mean and 95 % interval; these are empty where it was not run."""
    gains = gains_by_seed(claim, details)
    values = list(gains.values())
    decimals = unit_of(HEADLINE[details[claim.treated]["benchmark"]]).decimals if values else 1
    low, high = interval(values) if len(values) > 1 else (None, None)
    return {
        "paper": paper.key,
        "claim": claim.claim,
        "on": claim.on,
        "images": details[claim.treated]["images"] if values else "",
        "printed": claim.gain.replace("-", "−"),
        "where": claim.where,
        "elsewhere": elsewhere(claim),
        "gain": signed(mean(values), decimals) if values else "",
        "low": "" if low is None else signed(low, decimals),
        "high": "" if high is None else signed(high, decimals),
        "seeds": str(len(values)),
        "verdict": verdict(values, float(claim.gain) if claim.gain else None),
        "by_seed": ", ".join(f"{seed}: {signed(value, max(2, decimals))}" for seed, value in gains.items()),
        "treated": claim.treated,
        "control": claim.control,
        "headline": "yes" if claim.headline else "",
    }


def elsewhere(claim: Claim) -> str:
    """`−0.3 and +0.7, on MPII`: the gains that others measured, and where, if that is not what the claim is on."""
    gains = " and ".join(signed(float(other["gain"])) for other in claim.elsewhere)
    places = ", ".join(dict.fromkeys(other["on"] for other in claim.elsewhere if other["on"] != claim.on))
    return f"{gains}, on {places}" if places else gains


def gains_by_seed(claim: Claim, details: Mapping[str, Mapping[str, Any]]) -> dict[int, float]:
    """How much better the treated run is than its control in the benchmark's one number, by seeds that both have."""
    if not set(claim.runs) <= set(details):
        return {}
    metric = HEADLINE[details[claim.treated]["benchmark"]]
    differences = paired_differences(*(seed_scores(details[run]) for run in claim.runs), metric)
    sign = -1 if unit_of(metric).lower_is_better else 1
    return {seed: sign * difference for seed, difference in differences.items()}


def printed(entry: Mapping[str, str]) -> str:
    """`+0.8, Table 6, on MPII`: the paper's gain and where it stands, or that it prints none."""
    return f"{entry['printed']}, {entry['where']}" if entry["printed"] else entry["where"]


def measured(entry: Mapping[str, str]) -> str:
    """`+0.3 (−18.1 to +18.7; 2)`: gain, interval and seeds of a record; empty where it was not run."""
    if not entry["gain"]:
        return ""
    inside = f"{entry['low']} to {entry['high']}; {entry['seeds']}" if entry["low"] else "1 seed"
    return f"{entry['gain']} ({inside})"


def claim_table(entries: Iterable[Mapping[str, str]], judged: bool = True) -> str:
    """A line per claim; judged: with our gains and verdicts, those that were run first."""
    header, rows = ["claim", "on", "paper", "elsewhere"], []
    header += ["ours", "verdict"] if judged else []
    for entry in sorted(entries, key=lambda entry: judged and not entry["gain"]):
        row = [entry["claim"], entry["on"], printed(entry), entry["elsewhere"]]
        if judged:
            row += [measured(entry), f"**{entry['verdict']}**" if entry["gain"] else entry["verdict"]]
        rows.append(row)
    return markdown(header, rows, len(header))


def pair_list(paper: Paper, entries: Iterable[Mapping[str, str]]) -> str:
    """Which runs each claim compares, below what they share, and the gain of each seed."""
    notes = {claim.runs: claim.note for claim in paper.claims}
    lines = []
    for entry in entries:
        runs = entry["treated"], entry["control"]
        gains = f"seed {entry['by_seed']}" if entry["by_seed"] else NOT_RUN
        lines.append((notes[runs], f"`{runs[0]}` − `{runs[1]}`, {gains}"))
    return grouped(lines)


def other_gains(paper: Paper) -> str:
    """The gains elsewhere, below where they come from; empty where there are none."""
    lines = []
    for claim in paper.claims:
        for other in claim.elsewhere:
            gain = f"{claim.claim}: {signed(float(other['gain']))} on {other['on']}"
            lines.append((paper.sources[other["source"]], f"{gain} ({other['note']})" if "note" in other else gain))
    return f"Elsewhere:\n\n{grouped(lines)}" if lines else ""
