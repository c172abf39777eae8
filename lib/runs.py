"""What one training depends on besides its seed: the contract between params.yaml and the trainings."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from lib.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class Run:
    """One training at the profile's scale.

    paper, name: it lies in models/<paper>/<name>. crops: folder of data/crops; synthetic: another one, whose training
    rows are added. input (height, width) px, modality: of the student. model: `build_model`'s spec but for the joints;
    output: of the network, which names its codec; codec: that one's settings. exports: the networks that are kept,
    `model` first. scales: sizes at which people are shown for a second prediction, (1,): there is none. validation:
    "test", or "heldout" for training persons that are set aside. pretrained: whether the backbone starts from
    ImageNet's weights. method: a module of lib/tasks, with labels alone that of the output; settings: the method's own.
    teacher, init, prior: other runs, <paper>/<name>.
    """

    paper: str
    name: str
    dataset: str
    crops: str
    synthetic: str | None
    input: Size
    modality: str
    model: dict[str, Any]
    output: str
    exports: tuple[dict[str, Any], ...]
    codec: dict[str, Any]
    flip_test: bool
    scales: tuple[float, ...]
    augmentation: dict[str, Any]
    antialias: bool
    optimizer: dict[str, Any]
    epochs: int
    batch_size: int
    train_samples: int | None
    val_samples: int | None
    threads: int | None
    precision: str
    compile: bool
    validation: str
    validations: int
    pretrained: bool
    method: str
    settings: dict[str, Any]
    teacher: str | None
    teacher_input: Size | None
    teacher_modality: str | None
    init: str | None
    prior: str | None

    @property
    def label(self) -> str:
        """The run's name among those of all papers."""
        return f"{self.paper}/{self.name}"


def as_json(run: Run) -> dict[str, Any]:
    """A run as JSON holds it."""
    return asdict(run)


def as_run(content: dict[str, Any]) -> Run:
    """The run that JSON holds. Raises InputError where entries are missing or unknown."""
    names = {field.name for field in fields(Run)}
    if names != content.keys():
        differing = ", ".join(sorted(names ^ content.keys()))
        raise InputError(f"a run's spec lacks or adds {differing}: run python -m stages.specs")
    tuples = ("input", "teacher_input", "exports", "scales")
    return Run(**content | {key: tuple(content[key]) for key in tuples if content[key]})
