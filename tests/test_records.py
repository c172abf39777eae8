"""What a stage took the last time, for the plan of the next."""

from pathlib import Path

from lib.records import FOLDER, read_seconds, write_record, write_seconds


def test_the_seconds_of_a_training_are_those_of_its_seeds_wherever_it_found_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_record("fpd/lsp_fpd", {"seed0": {"seconds": 40.0}, "seed1": {"seconds": 2.5}})
    before = set(Path(FOLDER).rglob("*"))
    write_seconds("stages.train", ["fpd/lsp_fpd"], 0.7)  # both were there already
    assert set(Path(FOLDER).rglob("*")) == before
    assert read_seconds("python -m lib.launch -m stages.train fpd/lsp_fpd") == 42.5


def test_the_seconds_of_another_stage_are_those_of_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_seconds("stages.pack", ["lsp"], 3.004)
    write_seconds("stages.pack", ["mpii"], 9)
    assert read_seconds("python -m stages.pack lsp") == 3.0
    assert read_seconds("python -m stages.convert lsp") is None
