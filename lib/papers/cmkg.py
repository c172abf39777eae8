"""The section `cmkg` of params.yaml: Knowledge as Priors (Zhao, Peng, Chen, Kapadia, Metaxas; CVPR 2020)."""

from typing import ClassVar, Literal

from lib.params.networks import Network
from lib.params.papers import BaseRun, Method, Paper, Sizes
from lib.params.sections import Batch, Duration, Optimizer, Parts, Rate, Schedule, Section, Weight

Norm = Literal["l1", "l2"]


class Distillation(Section):
    """CMKD Eq. 4: weights of the activation and the attention loss."""

    activation: Weight
    attention: Weight


class MetaTraining(Distillation):
    """CMKG Algorithm 1: the norm of the regulariser, the steps before it is judged, their rate and its own."""

    norm: Norm
    inner_steps: Parts
    inner_lr: Rate
    meta_lr: Rate


class Regularisation(Section):
    """CMKG Eq. 9: a norm of the weights times sigma; null: times the weights that meta-training has learned."""

    norm: Norm
    sigma: Weight | None


class Run(BaseRun):
    """With a teacher: CMKD, and with a norm meta-training (Algorithm 1); what a run names replaces the paper's setting.

    Without one, a norm and either sigma or a prior: the labels and a regulariser. budget: the epochs that it has; by
    default those of a depth teacher, or of half an RGB student.
    """

    activation: Weight | None = None
    attention: Weight | None = None
    norm: Norm | None = None
    sigma: Weight | None = None
    budget: Literal["teacher", "half", "target"] | None = None


class Epochs(Section):
    """Of a depth teacher, of each half of an RGB student, and of a network on a target dataset."""

    teacher: Duration
    half: Duration
    target: Duration


class Settings(Paper[Run]):
    """Settings that all runs share, and the runs."""

    outputs: ClassVar[tuple[str, ...]] = ("pose",)
    antialias: ClassVar[bool] = True  # where a profile shrinks the input

    activation: Weight
    attention: Weight
    inner_steps: Parts
    meta_lr: Rate
    optimizer: Optimizer
    batch_size: Batch
    epochs: Epochs

    def schedule(self, run: Run, network: Network, dataset: str) -> Schedule:
        budget = run.budget or ("teacher" if run.modality == "depth" else "half")
        return Schedule(optimizer=self.optimizer, batch_size=self.batch_size, epochs=getattr(self.epochs, budget))

    def method(self, run: Run, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        if run.teacher is None:
            return self.regularised_method(run)
        weights = self.chosen(Distillation, run)
        if run.norm is None:
            return Method("cmkd", weights)
        meta_lr = sizes.scale.meta_lr or self.meta_lr
        rates = {"inner_lr": optimizer.lr, "meta_lr": meta_lr, "inner_steps": self.inner_steps}
        return Method("cmkg", MetaTraining(**weights, **rates, norm=run.norm).model_dump())

    def regularised_method(self, run: Run) -> Method | None:
        """A norm of the weights beside the labels."""
        if (run.norm is None) != (run.sigma is None and run.prior is None) or (run.sigma and run.prior):
            raise ValueError(
                f"norm is {run.norm}, sigma {run.sigma}, prior {run.prior}; expected a norm with one of these, or none"
            )
        return Method("regulariser", Regularisation(norm=run.norm, sigma=run.sigma).model_dump()) if run.norm else None

    def own_keys(self, run: Run) -> set[str]:
        return {"budget"}

    def partner(self, role: str, run: Run, other: Run) -> None:
        if role == "init" and other.modality != run.modality:
            raise ValueError(f"a network of other images than {run.modality}")
        if role == "teacher" and (other.modality != "depth" or other.model != run.model):
            raise ValueError("expected a network of depth images with the same model")
        if role == "prior" and (other.model, other.norm) != (run.model, run.norm):
            raise ValueError("learned for another model or norm; expected the same ones")
