"""Claims: what paired differences over seeds allow to say about a paper's gain, and how it is shown."""

from dataclasses import replace

import numpy as np
import pytest

from lib.papers import Claim, load_paper
from lib.reporting import claims
from lib.reporting.claims import NOT_RUN, NOT_SEEN, OPPOSITE, SEEN, TOO_FEW, verdict
from lib.reporting.noise import interval, sampling_error
from tests.markdown import cells
from tests.projects import coco, truth_of

# Mean 2, standard deviation 1, three seeds: t of two degrees of freedom, 4.3027, over the root of 3.
REACH = 4.3027 / 3**0.5


def test_interval_of_paired_differences():
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - REACH, 2 + REACH), abs=1e-4)
    # One degree of freedom: t is 12.706, and the standard error of two is half their distance.
    assert interval([-1.15, -1.31]) == pytest.approx((-1.23 - 12.706 * 0.08, -1.23 + 12.706 * 0.08), abs=1e-3)


@pytest.mark.parametrize(
    ("differences", "gain", "expected"),
    [
        ([], 0.8, NOT_RUN),
        ([5.0], 0.8, TOO_FEW),  # no spread
        ([1.0, 2.0], 0.8, TOO_FEW),
        ([-1.15, -1.31], 0.8, OPPOSITE),  # two seeds that agree to within a tenth
        ([1.0, 1.1, 0.9], 0.8, SEEN),
        ([1.0, 1.1, 0.9], 8.0, SEEN),  # smaller than the paper's, and no doubt a gain
        ([1.0, 2.0, 3.0], 0.8, TOO_FEW),  # zero and the paper's gain are both possible
        ([0.1, -0.1, 0.05], 0.8, NOT_SEEN),  # a gain as large as the paper's is not
        ([0.1, -0.1, 0.05], None, NOT_SEEN),
        ([0.0, 0.0, 0.0], 0.8, NOT_SEEN),
    ],
)
def test_verdict(differences, gain, expected):
    assert verdict(differences, gain) == expected


def details(benchmark: str, metric: str, *values: float) -> dict:
    seeds = {str(seed): {metric: value} for seed, value in enumerate(values)}
    return {"benchmark": benchmark, "images": claims.REAL, "seeds": seeds}


def claim(treated: str, control: str, gain: str) -> Claim:
    return Claim("It helps", "LSP", treated, control, gain, "Table 6", "they share all else")


def test_records_are_paired_by_seed_and_positive_where_better():
    paper = load_paper("fpd")
    found = {"a": details("lsp", "mean", 40.0, 43.0), "b": details("lsp", "mean", 39.0, 41.0, 50.0)}
    one = claims.record(claim("a", "b", "+0.8"), paper, found)
    assert (one["gain"], one["seeds"], one["by_seed"], one["printed"]) == ("+1.5", "2", "0: +1.00, 1: +2.00", "+0.8")
    assert (one["low"], one["high"], one["verdict"]) == ("−4.9", "+7.9", TOO_FEW)
    errors = {"a": details("stb", "epe", 20.0, 21.0, 22.0), "b": details("stb", "epe", 30.0, 31.0, 32.0)}
    one = claims.record(claim("a", "b", "+7.49"), paper, errors)
    assert (one["gain"], one["low"], one["high"], one["verdict"]) == ("+10.00", "+10.00", "+10.00", SEEN)  # mm less
    one = claims.record(claim("a", "missing", "+0.8"), paper, found)
    assert (one["gain"], one["seeds"], one["verdict"], one["images"]) == ("", "0", NOT_RUN, "")


def test_table_shows_what_others_found_and_our_interval():
    paper = load_paper("fpd")
    others = ({"gain": "-0.336", "source": "a", "on": "LSP"}, {"gain": "+0.72", "source": "b", "on": "MPII"})
    found = {
        "a": details("lsp", "mean", 40.0, 43.0),
        "b": details("lsp", "mean", 39.0, 41.0),
        "c": details("lsp", "mean", 1),
    }
    entries = [
        claims.record(claim("x", "y", "+0.1"), paper, found),
        claims.record(replace(claim("a", "b", "+0.8"), elsewhere=others), paper, found),
        claims.record(claim("a", "c", ""), paper, found),
    ]
    lines = [cells(line) for line in claims.claim_table(entries).splitlines()]
    assert lines[0] == ["claim", "on", "paper", "elsewhere", "ours", "verdict"]
    assert lines[2][2:] == ["+0.8, Table 6", "−0.3 and +0.7, on MPII", "+1.5 (−4.9 to +7.9; 2)", f"**{TOO_FEW}**"]
    assert lines[3][2:] == ["Table 6", "", "+39.0 (1 seed)", f"**{TOO_FEW}**"]
    assert lines[4][2:] == ["+0.1, Table 6", "", "", NOT_RUN]
    assert (
        cells(claims.claim_table(entries, judged=False).splitlines()[3])[-1] == "−0.3 and +0.7, on MPII"
    )  # the paper's order


def test_sampling_error_of_a_share_is_binomial_over_labelled_joints():
    """With two hits and two misses more than there are, so that a share of none has an error, too."""
    annotations = coco(10)
    found = truth_of(annotations)
    predictions = {"ids": np.arange(1, 11), "keypoints": found, "images": np.arange(1, 11)}

    def error(hits: float, trials: int) -> float:
        share = (hits + 2) / (trials + 4)
        return 100 * (share * (1 - share) / (trials + 4)) ** 0.5

    assert sampling_error(annotations, predictions) == pytest.approx(error(140, 140))
    assert error(140, 140) > 0.9
    found[:3] += 1000
    assert sampling_error(annotations, predictions) == pytest.approx(error(98, 140))
    annotations["annotations"][9]["keypoints"][2::3] = [2] * 3 + [0] * 6 + [2] * 5  # not its torso
    share = (8 * 7 / 10 + 6 * 6 / 9) / 14  # LSP's mean is that of its joints
    assert sampling_error(annotations, predictions) == pytest.approx(error(share * 134, 134))


def test_sampling_error_of_hands_is_that_of_a_mean():
    xyz = np.zeros((4, 21, 3))
    annotations = {"info": {"dataset": "stb"}, "annotations": [{"id": n, "xyz": xyz[n].tolist()} for n in range(4)]}
    off = xyz.copy()
    off[:, :, 0] = np.array([10.0, 10.0, 30.0, 30.0])[:, None]  # standard deviation 10, four hands
    assert sampling_error(annotations, {"ids": np.arange(4), "keypoints": off}) == pytest.approx(5)
