"""FreiHAND v2: right hands before a green screen and in three more versions to annotations, and synthetic raw data.

Zimmermann et al., ICCV 2019. The raw folder holds what the two archives do:

    training/rgb/<8 digits>.jpg        224 x 224; sample + version x samples
    training_{K,xyz}.json              per sample the camera (3, 3) and the joints (21, 3), m, in our order
    evaluation/rgb/<8 digits>.jpg      other pictures, in one version
    evaluation_{K,scale,xyz}.json      scale: length of the middle finger's proximal bone, m; xyz: second archive
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lib.data.formats import hands
from lib.data.formats.raw import read_json, require_images, source
from lib.data.images import image_size
from lib.errors import InputError
from lib.files import atomic

TRAINING, EVALUATION = "FreiHAND_pub_v2.zip", "FreiHAND_pub_v2_eval.zip"
FIRST_EVALUATION = 200_001  # id
SUBSETS = ("g", "h", "s", "a")  # green screen, homogenised, sample-based and automatic colourisation: the versions
PROTOCOL = (
    "val is the last tenth of the samples (one stretch: neighbours are most alike), train the rest, each in the four "
    "versions g (green screen), h (homogenised), s (sample-based), a (automatic colourisation)"
)


def _read(path: Path, shape: tuple[int, ...], archive: str) -> NDArray[np.float64]:
    """Numbers (N, *shape) of a JSON file; InputError where it is missing or holds anything else."""
    try:
        numbers = np.array(read_json(path, f"extract {archive} again"), float)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{path} is not a JSON list of numbers {('N', *shape)}; extract {archive} again") from None
    if numbers.ndim != 1 + len(shape) or numbers.shape[1:] != shape or not np.isfinite(numbers).all():
        expected = ", ".join(map(str, ("N", *shape)))
        what = f"holds {numbers.shape}, some of it perhaps not finite; expected numbers ({expected})"
        raise InputError(f"{path} {what}: extract {archive} again")
    return numbers


def _read_set(raw: Path, name: str, archive: str, fields: dict[str, tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """The annotations `fields` of "training" or "evaluation", as many of each."""
    arrays = [_read(raw / f"{name}_{field}.json", shape, archive) for field, shape in fields.items()]
    if len(set(map(len, arrays))) > 1:
        sizes = ", ".join(f"{field} of {len(array)}" for field, array in zip(fields, arrays, strict=True))
        raise InputError(f"{raw}: the {name} files have {sizes} samples; take them all from one archive")
    return arrays


def _records(raw: Path, names: list[str], first: int, cameras: NDArray, xyz: NDArray, **extra: str) -> list[tuple]:
    """COCO image and annotation of each file, numbered from `first`; joints (N, 21, 3) in m."""
    records = []
    for key, (name, camera, joints) in enumerate(zip(names, cameras, 1000 * xyz, strict=True), first):
        hands.check(str(raw / name), joints, camera)
        record = hands.image(key, name, image_size(raw / name), camera, **extra)
        records.append((record, hands.annotation(key, joints, camera, "right")))
    return records


def _files(raw: Path, name: str, count: int) -> list[str]:
    """Relative paths of the images of a set; InputError where some are missing."""
    files = [f"{number:08d}.jpg" for number in range(count)]
    require_images(raw / name / "rgb", files)
    return [f"{name}/rgb/{file}" for file in files]


def _read_training(raw: Path) -> dict[str, list[tuple]]:
    """COCO images and annotations of both splits, all four versions of each."""
    cameras, xyz = _read_set(raw, "training", TRAINING, {"K": (3, 3), "xyz": (21, 3)})
    samples = len(xyz)
    if samples < 2:
        raise InputError(f"{raw / 'training_xyz.json'} holds {samples} samples; expected 2 at least")
    files, border = _files(raw, "training", len(SUBSETS) * samples), samples - max(1, samples // 10)
    splits = {"train": [], "val": []}
    for version, subset in enumerate(SUBSETS):
        first = version * samples
        records = _records(raw, files[first : first + samples], first + 1, cameras, xyz, subset=subset)
        splits["train"] += records[:border]
        splits["val"] += records[border:]
    return splits


def _read_evaluation(raw: Path) -> tuple[list[dict], list[dict]]:
    """COCO images, which have the hands' scale in mm, and annotations, none where the archive with xyz is missing."""
    cameras, scale = _read_set(raw, "evaluation", TRAINING, {"K": (3, 3), "scale": ()})
    odd = np.flatnonzero(~((scale > 0) & (scale < 1)))
    if len(odd):
        what = f"sample {odd[0]} has {scale[odd[0]]:.3g}; expected the length of a bone in m"
        raise InputError(f"{raw / 'evaluation_scale.json'}: {what}: extract {TRAINING} again")
    files = _files(raw, "evaluation", len(cameras))
    if (raw / "evaluation_xyz.json").exists():
        cameras, xyz = _read_set(raw, "evaluation", EVALUATION, {"K": (3, 3), "xyz": (21, 3)})
        images, annotations = map(list, zip(*_records(raw, files, FIRST_EVALUATION, cameras, xyz), strict=True))
    else:
        for name, camera in zip(files, cameras, strict=True):
            hands.check_camera(str(raw / name), camera)
        rows = enumerate(zip(files, cameras, strict=True), FIRST_EVALUATION)
        images = [hands.image(key, name, image_size(raw / name), camera) for key, (name, camera) in rows]
        annotations = []
    return [record | {"scale": 1000 * mm} for record, mm in zip(images, scale.tolist(), strict=True)], annotations


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write {train,val}.json (COCO keypoints) of the training files and evaluation.json of the evaluation's, if any.

    No joint counts as hidden, for the files do not tell. An id is the number in the file name + 1, + 200,001 in
    evaluation.json, whose images have the hand's scale in mm and which has no labels where evaluation_xyz.json is not
    there.

    Args:
        raw: folder with the content of the archives, and SOURCE.json where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: hands (of train.json and val.json), samples (of four pictures each), evaluation (images).

    Raises:
        InputError: a file is missing or unreadable, or the files do not belong together.
    """
    info = {"dataset": "freihand", "source": source(raw), "note": PROTOCOL}
    splits = _read_training(raw)
    evaluation = _read_evaluation(raw) if (raw / "evaluation_K.json").exists() else None
    with atomic(out) as folder:
        folder.mkdir()
        for split, records in splits.items():
            hands.write(folder / f"{split}.json", info, *map(list, zip(*records, strict=True)))
        if evaluation:
            hands.write(folder / "evaluation.json", info, *evaluation)
    total = sum(map(len, splits.values()))
    return {"hands": total, "samples": total // len(SUBSETS), "evaluation": len(evaluation[0]) if evaluation else 0}


def write_synthetic(out: Path, *, train: int, evaluation: int, seed: int) -> None:
    """Write synthetic hands in the layout that convert reads; replaces `out` as a whole.

    Every sample is a function of (seed, set, number) alone. A training sample is one picture before a green screen and
    three more with the hand recoloured before other backgrounds.

    Args:
        out: folder that will hold `training/`, `evaluation/` and their JSON files.
        train: number of training samples.
        evaluation: number of evaluation pictures.
        seed: of all samples.
    """
    from lib.data.formats import freihand_synthetic  # its hand model loads PyTorch, which no conversion needs

    with atomic(out) as folder:
        freihand_synthetic.write(folder, {"training": train, "evaluation": evaluation}, seed)
