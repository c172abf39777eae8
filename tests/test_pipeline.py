"""The whole pipeline at a tiny scale: every stage alone with what dvc.yaml says it needs."""

import json
import os
import shutil
import time
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from lib import launch
from lib.code import SILENT, closure
from stages import NOT_CHOSEN
from tests.graph import ROOT, Stage, load_stages

SECONDS = 300  # for a stage
SCRATCH = (".cache", "__pycache__", "data/downloads", ".pytest_cache")
# One run of each group on a benchmark, with the runs that it needs; the others of a group share its stage.
RUNS = {
    "fpd": {
        "alone": ["lsp_teacher", "lsp_student", "mpii_s8_c256", "mpii_s4_c128", "mpii_prm_student"],
        "continued": ["lsp_control"],
        "taught": ["lsp_fpd", "mpii_fpd", "mpii_cross_entropy"],
        "taught_continued": ["mpii_fpd_init"],
    },
    "okdhp": {
        "alone": [
            *("mpii_hg8_base", "mpii_shufflenetv2_base", "coco_hg2_base", "lsp_hg4_base", "mpii_hg4_unbalanced"),
            *("mpii_shufflenetv2", "coco_hg8", "mpii_hg4_gate", "lsp_hg4_beta_0"),
        ],
        "taught": ["mpii_hg4_fpd"],
    },
    "cdkd": {
        "alone": [
            *("mpii_teacher", "mpii_teacher_heatmap", "mpii_simbase_r50_32", "coco_teacher_w48", "lsp_teacher"),
            "mpii_okdhp_64",
        ],
        "taught": ["mpii_cdkd_64", "mpii_hrnet_sape_64", "coco_simcc_r50_cca_64", "lsp_released_32"],
    },
    "cmkg": {
        "alone": ["rhd_depth_r18", "rhd_start_r18", "stb_none", "stb_l1_1e_4", "freihand_g_l2"],
        "alone_synthetic": ["rhd_depth_r18_aug", "rhd_start_r18_aug"],
        "continued": ["rhd_rgb_r18"],
        "continued_synthetic": ["rhd_rgb_r18_aug"],
        "taught_continued": ["rhd_act_att_r18"],
        "taught_continued_synthetic": ["rhd_cmkd_r18", "rhd_prior_l2"],
        "regularised": ["stb_prior_l2"],
    },
}
NARROW = {"channels": 32, "width": 8, "blocks": [1, 1, 1, 1]}  # what complexity counts: of each architecture
TRAINED = {f"{paper}/{run}" for paper, groups in RUNS.items() for runs in groups.values() for run in runs}
STAGES = [stage for stage in load_stages() if stage.module != "stages.train" or stage.arguments[0] in TRAINED]


def tiny(content: dict) -> dict:
    """params.yaml with the mini profile shrunk to seconds, and to RUNS."""
    content["data"]["lsp"]["synthetic"] = {"lsp": 16, "lspet": 24, "seed": 0}
    content["data"]["mpii"]["synthetic"] = {"train": 32, "val": 8, "layout": "json", "seed": 0}
    content["data"]["coco"]["synthetic"] = {"train": 8, "val": 4, "seed": 0}
    content["data"]["rhd"]["synthetic"] = {"train": 8, "val": 4, "seed": 0}
    content["data"]["stb"]["synthetic"] = {"frames": 1, "seed": 0}
    content["data"]["freihand"]["synthetic"] = {"train": 20, "evaluation": 2, "seed": 0}
    content["profiles"]["mini"]["crops"]["synthetic"] = 8
    for paper, groups in RUNS.items():
        for group, runs in groups.items():
            content[paper][group] = {run: content[paper][group][run] for run in runs}
    content["seeds"] = [0, 1]
    content["training"]["validations"] = 1
    content["complexity"] |= {"input": 64, "batch_sizes": [1]}
    for entry in (*content["complexity"]["networks"].values(), *content["complexity"]["training"].values()):
        network, name = content["models"][entry["model"]], f"narrow_{entry['model']}"
        content["models"][name] = network | {key: value for key, value in NARROW.items() if key in network}
        content["models"][name] |= {"blocks": 1, "modules": [1, 1, 1]} if "width" in network else {}  # HRNet's
        entry["model"] = name
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
    """The files of lib/ and stages/ that a stage may load: those of its spec, and what reaches no result."""
    if stage.name == "specs":
        return []  # it depends on all
    spec = json.loads((world / stage.spec).read_text(encoding="utf-8"))
    silent = [f"{name.replace('.', '/')}.py" for name in SILENT]
    # Metrics draw validation curves, labels describe weights.
    unused = ["lib/labels.py", "lib/metrics"] if stage.module == "stages.train" else []
    own = closure([stage.module], world) if spec == NOT_CHOSEN else spec.get("code", spec)
    return [*own, *silent, *unused]


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run `python -m words...` in a folder with its own code: the exit status, and what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with TemporaryFile() as printed:
        process = launch.start(["-m", "tests.boxed", str(folder), *words], environment, printed.fileno())
        deadline = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        printed.seek(0)
        return process.returncode, printed.read().decode()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> tuple[Path, dict[str, set[str]]]:
    """The tree after all stages, and per stage the files it wrote.

    Each stage runs in a folder that holds its declared dependencies and the code that its spec names, and nothing else.
    """
    world = tmp_path_factory.mktemp("world")
    kept = ["reports/archive", "reports/published", "reports/metrics/latency.json"]  # made by hand
    copy(["lib", "stages", "dvc.yaml", "params.yaml", *kept], ROOT, world)
    yaml = YAML()
    yaml.dump(tiny(yaml.load(ROOT / "params.yaml")), world / "params.yaml")
    observed = {}
    for stage in STAGES:
        box = tmp_path_factory.mktemp("box")
        copy([*stage.deps, *code(world, stage)], world, box)
        before = files(box)
        status, printed = run(box, stage.module, *stage.arguments)
        assert status == 0, f"{stage.name}\n{printed}"
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

    def outdated() -> set[str]:
        with chdir(world), Repo() as repo:
            return set(repo.status())

    def commit(*targets: str) -> None:
        with chdir(world), Repo() as repo:
            for target in targets or [None]:
                repo.commit(target, force=True)

    Repo.init(str(world), no_scm=True).close()
    commit()
    assert outdated() == set()

    def outdated_with(**weights: dict[str, float]) -> set[str]:
        """What is out of date once params.yaml has these settings of papers and the specs of all runs are anew."""
        yaml = YAML()
        content = yaml.load(world / "params.yaml")
        for paper, settings in weights.items():
            content[paper] |= settings
        yaml.dump(content, world / "params.yaml")
        assert "specs" in outdated()
        assert run(world, "stages.specs") == (0, "")
        commit("specs")
        return outdated()

    after = {"evaluate@fpd", "report@fpd", "summary"}
    assert outdated_with(fpd={"alpha": 0.1}) == {
        *("fpd_taught@lsp_fpd", "fpd_taught@mpii_fpd", "fpd_taught_continued@mpii_fpd_init"),
        *after,
    }
    after = {"evaluate@okdhp", "report@okdhp", "summary"}
    changed = {f"okdhp_alone@{run}" for run in ("mpii_hg4_unbalanced", "mpii_shufflenetv2", "coco_hg8")}
    assert outdated_with(fpd={"alpha": 0.5}, okdhp={"beta": 3}) == changed | after
    after = {"evaluate@cdkd", "report@cdkd", "summary"}
    changed = {f"cdkd_taught@{run}" for run in RUNS["cdkd"]["taught"] if "released" not in run}
    assert outdated_with(okdhp={"beta": 2}, cdkd={"beta": 2}) == changed | after
    after = {"evaluate@cmkg", "report@cmkg", "summary"}
    changed = {f"cmkg_taught_continued_synthetic@{run}" for run in ("rhd_cmkd_r18", "rhd_prior_l2")}
    changed.add("cmkg_taught_continued@rhd_act_att_r18")
    assert outdated_with(cdkd={"beta": 1}, cmkg={"activation": 2}) == changed | after
