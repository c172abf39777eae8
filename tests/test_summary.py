"""reports/README.md: studies first, and this working copy."""

from pathlib import Path

from lib.files import write_csv
from stages import evaluate, summary
from tests.markdown import cells, section


def study(place: str, images: str, **others: str) -> None:
    """A published study with one claim of FPD."""
    folder = Path("reports") / place
    folder.mkdir(parents=True)
    entry = {"paper": "fpd", "claim": "It helps", "on": "LSP", "images": images, "printed": "+0.8", "where": "Table 6"}
    entry |= {"elsewhere": "", "gain": "+1.5", "low": "+1.0", "high": "+2.0", "seeds": "3", "verdict": "seen"}
    entry |= {"headline": "yes"}
    write_csv(folder / "claims.csv", [entry | others, entry | {"claim": "A lesser one", "headline": ""}])
    (folder / "README.md").write_text(f"# Study in {place}\n\ntext\n")


def test_summary_opens_with_studies_on_the_benchmarks_own_images(tree):
    evaluate.main("fpd")
    study("archive/a", "drawn", paper="cmkg", printed="", where="not in the paper")
    study("archive/b", "the benchmark's", verdict="opposite", on="MPII")
    study("published/c", "the benchmark's")
    summary.main()
    text = Path("reports/README.md").read_text()
    rows = [cells(line) for line in text.splitlines() if line.startswith("| [")]
    ours = "+1.5 (+1.0 to +2.0; 3)"
    assert rows == [
        ["[FPD](published/c/README.md)", "It helps", "LSP", "+0.8, Table 6", "", ours, "**seen**"],
        ["[FPD](archive/b/README.md)", "It helps", "MPII", "+0.8, Table 6", "", ours, "**opposite**"],
        ["[CMKG](archive/a/README.md)", "It helps", "LSP, drawn", "not in the paper", "", ours, "**seen**"],
    ]
    assert "* [Study in archive/a](archive/a/README.md), an older study" in text
    assert "* [Study in published/c](published/c/README.md)\n" in text
    here = section(text, "This working copy")
    assert "say nothing about a method" in here and "* [Fast Human Pose Estimation](fpd.md)" in here
    assert "|" not in here  # a profile that checks


def test_summary_shows_the_numbers_of_other_profiles(full_tree):
    evaluate.main("okdhp")
    summary.main()
    text = Path("reports/README.md").read_text()
    rows = [cells(line)[1:] for line in text.splitlines() if "](okdhp.md) |" in line]
    assert rows[2:4] == [["COCO", "baseline", "AP 0.0 %"], ["COCO", "OKDHP", "AP 100.0 %"]]
    assert rows[4:] == [["LSP", "baseline", "mean PCK@0.2 60.0 %"], ["LSP", "OKDHP", "mean PCK@0.2 70.0 %"]]
    assert "No study has been published" in text and "say nothing" not in text
