"""Effects: paired differences between runs that differ by one factor, and what they allow to say."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from scipy.stats import t

from lib.metrics.scores import HEADLINE, SECOND, Unit, title_of, unit_of
from lib.papers import Paper
from lib.reporting import Study, paired_differences, seed_scores
from lib.reporting.tables import markdown, signed


def effects(paper: Paper, studies: Sequence[Study]) -> list[str]:
    """A section for each of the paper's pairs: the differences by seed, a verdict, and what the paper reports."""
    text = []
    for effect in paper.effects:
        treated, control = pair = effect["treated"], effect["control"]
        text += [f"### {effect['question']}", f"`{treated}` against `{control}`: {effect['note']}."]
        study = next((study for study in studies if set(pair) <= set(study.results)), None)
        if study is None:
            text.append("Not run.")
            continue
        scores = [seed_scores(study.annotations, study.results[name]) for name in pair]
        metric, second = HEADLINE[study.key], SECOND[study.key]
        differences = {key: paired_differences(*scores, key) for key in (metric, second)}
        names = {metric: study.benchmark.metric, second: title_of(second)}
        text += [
            effect_table(treated, control, differences, names),
            verdict(list(differences[metric].values()), names[metric], unit_of(metric), effect["factor"]),
            f"The paper reports {effect['printed']}.",
        ]
    return text


def effect_table(
    treated: str, control: str, differences: Mapping[str, Mapping[int, float]], names: Mapping[str, str]
) -> str:
    """Paired differences treated − control: a line per metric, a column per seed, then their mean ± spread.

    differences: by metric and seed; names: of the metrics, in words.
    """
    seeds = list(next(iter(differences.values())))
    header = [f"`{treated}` − `{control}`", *(f"seed {seed}" for seed in seeds), "mean ± std"]
    rows = []
    for metric, by_seed in differences.items():
        values, digits = list(by_seed.values()), max(2, unit_of(metric).decimals)
        spread = f"\u00a0±\u00a0{stdev(values):.{digits}f}" if len(values) > 1 else " (one seed)"
        shown = [signed(value, digits) for value in (*values, mean(values))]
        rows.append([names[metric], *shown[:-1], shown[-1] + spread])
    return markdown(header, rows)


def verdict(differences: Sequence[float], metric: str, unit: Unit, factor: str) -> str:
    """What paired differences of a metric allow to say: their mean, and its 95 % interval by Student's t.

    metric: in words.
    """
    effect, seeds, what = mean(differences), len(differences), f"{unit.difference}{metric}"
    if seeds == 1:
        return f"One seed: a difference of {signed(effect, 2)} {what} without a spread, so no conclusion."
    reach = float(t.ppf(0.975, seeds - 1)) * stdev(differences) / seeds**0.5
    found = (
        f"Over {seeds} seeds: a difference of {signed(effect, 2)} {what}, 95 % interval "
        f"{signed(effect - reach, 2)} to {signed(effect + reach, 2)} (paired t)"
    )
    if abs(effect) <= reach:
        return f"{found}. Zero lies within the spread of the seeds, so no conclusion."
    direction = "raises" if effect > 0 else "lowers"
    better = " (lower is better)" if unit.lower_is_better else ""
    return f"{found}. At this scale and on these data {factor} {direction} the {metric}{better}."
