"""The whole pipeline at a tiny scale: every stage alone with what dvc.yaml says it needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.graph import ROOT, Stage, load_stages

SCRATCH = (".cache", "__pycache__", "data/downloads", ".pytest_cache")
# One run of each group on a benchmark, with the runs that it needs; the others of a group share its stage.
RUNS = {
    "fpd": {
        "supervised": ["lsp_teacher", "lsp_student", "mpii_s8_c256", "mpii_s4_c128", "mpii_prm_student"],
        "control": ["lsp_control"],
        "runs": ["lsp_fpd", "mpii_fpd"],
        "initialised": ["mpii_fpd_init"],
        "ablations": ["mpii_cross_entropy"],
    },
    "okdhp": {
        "supervised": ["mpii_hg8_base", "mpii_shufflenetv2_base", "coco_hg2_base", "lsp_hg4_base"],
        "fpd": ["mpii_hg4_fpd"],
        "runs": ["mpii_hg4_unbalanced", "mpii_shufflenetv2", "coco_hg8"],
        "ablations": ["mpii_hg4_gate", "lsp_hg4_beta_0"],
    },
    "cdkd": {
        "supervised": [
            "mpii_teacher",
            "mpii_teacher_heatmap",
            "mpii_simbase_r50_32",
            "coco_teacher_w48",
            "lsp_teacher",
        ],
        "okdhp": ["mpii_okdhp_64"],
        "runs": ["mpii_cdkd_64", "mpii_hrnet_sape_64", "coco_simcc_r50_cca_64", "lsp_released_32"],
    },
    "cmkg": {
        "supervised": ["rhd_depth_r18", "rhd_start_r18"],
        "supervised_synthetic": ["rhd_depth_r18_aug", "rhd_start_r18_aug"],
        "control": ["rhd_rgb_r18"],
        "control_synthetic": ["rhd_rgb_r18_aug"],
        "cmkd": ["rhd_act_att_r18"],
        "cmkd_synthetic": ["rhd_cmkd_r18"],
        "meta_train": ["rhd_prior_l2"],
        "target": ["stb_none", "stb_l1_1e_4", "freihand_g_l2"],
        "meta_test": ["stb_prior_l2"],
    },
}
TRAINED = {f"{paper}.{run}" for paper, groups in RUNS.items() for runs in groups.values() for run in runs}
STAGES = [stage for stage in load_stages() if stage.module != "stages.train" or stage.command.split()[-1] in TRAINED]


def tiny(content: dict) -> dict:
    """params.yaml with the mini profile shrunk to seconds, and to RUNS."""
    content["data"]["lsp"]["synthetic"] = {"lsp": 16, "lspet": 24, "seed": 0}
    content["data"]["mpii"]["synthetic"] = {"train": 32, "val": 8, "layout": "json", "seed": 0}
    content["data"]["coco"]["synthetic"] = {"train": 8, "val": 4, "seed": 0}
    content["data"]["rhd"]["synthetic"] = {"train": 8, "val": 4, "seed": 0}
    content["data"]["stb"]["synthetic"] = {"frames": 1, "seed": 0}
    content["data"]["freihand"]["synthetic"] = {"train": 20, "evaluation": 2, "seed": 0}
    content["profiles"]["mini"]["packs"]["synthetic"] = 8
    for paper, groups in RUNS.items():
        for group, runs in groups.items():
            content[paper][group] = {run: content[paper][group][run] for run in runs}
    content["seeds"] = [0, 1]
    content["training"]["validations"] = 1
    content["complexity"] |= {"input": [64, 64], "batch_sizes": [1, 2]}
    small = {"width": 0.03125, "epochs": 0.001, "train_samples": 32, "val_samples": 8}
    for paper in RUNS:
        content["profiles"]["mini"][paper] |= small
    return content


def files(folder: Path) -> set[str]:
    """All files below a folder but scratch, relative to it."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if not any(f"/{part}/" in f"/{path}" for part in SCRATCH)}


def copy(paths, source: Path, target: Path) -> None:
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        if (source / path).is_dir():
            shutil.copytree(source / path, target / path, dirs_exist_ok=True)
        elif (source / path).exists():
            shutil.copy2(source / path, target / path)


def code(world: Path, stage: Stage) -> list[str]:
    """The files of lib/ and stages/ that data/code names for a stage's module; `code` itself depends on all."""
    path = world / "data/code" / f"{stage.module.removeprefix('stages.')}.json"
    return list(json.loads(path.read_text())) if stage.name != "code" else []


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> tuple[Path, dict[str, set[str]]]:
    """The tree after all stages, and per stage the files it wrote.

    Each stage runs in a folder that holds its declared dependencies and the code that its module's file in data/code
    names, and nothing else.
    """
    world = tmp_path_factory.mktemp("world")
    copy(["lib", "stages", "dvc.yaml", "params.yaml", "reports/published"], ROOT, world)
    yaml = YAML()
    yaml.dump(tiny(yaml.load(ROOT / "params.yaml")), world / "params.yaml")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    observed = {}
    for stage in STAGES:
        box = tmp_path_factory.mktemp("box")
        copy([*stage.deps, *code(world, stage)], world, box)
        before = files(box)
        command = [sys.executable, "-m", stage.module, *stage.command.partition(stage.module)[2].split()]
        done = subprocess.run(command, cwd=box, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{stage.name}\n{done.stdout}\n{done.stderr}"
        observed[stage.name] = files(box) - before
        copy(stage.outs, box, world)
        shutil.rmtree(box)
    return world, observed


def below(path: str, parents) -> bool:
    return any(path == parent or path.startswith(f"{parent}/") for parent in parents)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_outs_are_the_files_written(pipeline, stage: Stage):
    world, observed = pipeline
    assert [path for path in observed[stage.name] if not below(path, stage.outs)] == []
    assert [out for out in stage.outs if not (world / out).exists()] == []


def test_a_parameter_changes_what_reads_it_and_nothing_else(pipeline):
    """After a full run nothing is out of date; a weight touches the runs that share it, no teacher and no ablation."""
    world, _ = pipeline

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=world, check=True, capture_output=True, text=True).stdout

    def outdated() -> set[str]:
        return set(json.loads(dvc("status", "--json")))

    dvc("init", "--no-scm", "-q")
    dvc("commit", "-f", "-q")
    assert outdated() == set()

    def outdated_with(**weights: dict[str, float]) -> set[str]:
        """What is out of date once params.yaml has these settings of papers and the specs of all runs are anew."""
        yaml = YAML()
        content = yaml.load(world / "params.yaml")
        for paper, settings in weights.items():
            content[paper] |= settings
        yaml.dump(content, world / "params.yaml")
        assert "specs" in outdated()
        subprocess.run([sys.executable, "-m", "stages.specs"], cwd=world, check=True)
        dvc("commit", "-f", "-q", "specs")
        return outdated()

    after = {"evaluate@fpd", "report@fpd", "summary"}
    assert outdated_with(fpd={"alpha": 0.1}) == {"fpd@lsp_fpd", "fpd@mpii_fpd", "fpd_initialised@mpii_fpd_init"} | after
    after = {"evaluate@okdhp", "report@okdhp", "summary"}
    changed = {f"okdhp@{run}" for run in RUNS["okdhp"]["runs"]}
    assert outdated_with(fpd={"alpha": 0.5}, okdhp={"beta": 3}) == changed | after
    after = {"evaluate@cdkd", "report@cdkd", "summary"}
    changed = {f"cdkd@{run}" for run in RUNS["cdkd"]["runs"] if "released" not in run}
    assert outdated_with(okdhp={"beta": 2}, cdkd={"beta": 2}) == changed | after
    after = {"evaluate@cmkg", "report@cmkg", "summary"}
    changed = {"cmkd@rhd_act_att_r18", "cmkd_synthetic@rhd_cmkd_r18", "cmkg_meta_train@rhd_prior_l2"}
    assert outdated_with(cdkd={"beta": 1}, cmkg={"activation": 2}) == changed | after
