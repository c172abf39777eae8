"""Sections of params.yaml that no single paper owns."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Size = tuple[Count, Count]
Weight = Annotated[float, Field(ge=0)]
Shared = Annotated[int, Field(ge=0)]
Variant = Literal["paper", "released"]
Head = Literal["heatmap", "simcc"]


class Section(BaseModel):
    """A mapping of params.yaml with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(Section):
    """One file of a benchmark as its owner offers it, and the folder of data/raw/<dataset> that its content fills.

    Without urls, fetch needs the file in data/downloads/<dataset>. An optional file that cannot be had is left out.
    """

    file: str
    folder: str
    urls: tuple[str, ...]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    optional: bool = False


class LspSynthetic(Section):
    """How many images the synthetic LSP and LSPET have."""

    lsp: Annotated[int, Field(ge=2, multiple_of=2)]
    lspet: Count
    seed: Seed


class MpiiSynthetic(Section):
    """How many images the synthetic MPII has, and which of its two common layouts: MATLAB's or the JSON conversion."""

    train: Count
    val: Count
    layout: Literal["mat", "json"]
    seed: Seed


class CocoSynthetic(Section):
    """How many images the synthetic COCO has."""

    train: Count
    val: Count
    seed: Seed


class RhdSynthetic(Section):
    """How many frames the synthetic RHD has."""

    train: Count
    val: Count
    seed: Seed


class StbSynthetic(Section):
    """How many frames each of the twelve sequences of the synthetic STB has."""

    frames: Count
    seed: Seed


class FreihandSynthetic(Section):
    """How many samples, in four versions each, and how many evaluation images the synthetic FreiHAND has."""

    train: Annotated[int, Field(ge=2)]
    evaluation: Count
    seed: Seed


class Dataset(Section):
    """Where a benchmark comes from."""

    source: str = Field(min_length=1)
    official: tuple[Archive, ...] = Field(min_length=1)


class Lsp(Dataset):
    """Leeds Sports Pose and its extended training set."""

    synthetic: LspSynthetic


class Mpii(Dataset):
    """MPII Human Pose."""

    synthetic: MpiiSynthetic


class Coco(Dataset):
    """COCO keypoints 2017."""

    synthetic: CocoSynthetic


class Rhd(Dataset):
    """Rendered Hand Pose Dataset."""

    synthetic: RhdSynthetic


class Stb(Dataset):
    """Stereo Hand Pose Tracking Benchmark."""

    synthetic: StbSynthetic


class Freihand(Dataset):
    """FreiHAND."""

    synthetic: FreihandSynthetic


class Data(Section):
    """The benchmarks, by name."""

    lsp: Lsp
    mpii: Mpii
    coco: Coco
    rhd: Rhd
    stb: Stb
    freihand: Freihand


class PackSpec(Section):
    """Crops of one dataset: network input (height, width) in px, box padding, and margin for the augmentation.

    boxes: whose boxes the validation crops show, the annotations' or a detector's (the two-stage protocol). subset: a
    camera or a version, of benchmarks that show everything several times; null: all images.
    """

    dataset: Name
    input: Size
    padding: Annotated[float, Field(ge=1)]
    margin: Annotated[float, Field(ge=1)]
    boxes: Literal["annotations", "detections"] = "annotations"
    subset: str | None = None


class SynthesisSpec(Section):
    """Rendered hands (CMKG Sect. 5.1): hand model, number and size of the images, backgrounds and what is drawn.

    model: procedural, or the path of MANO_RIGHT.pkl. backgrounds: a folder of images, null: procedural textures.
    components: of the pose, drawn from [-pose, pose] each; shape parameters come from [-shape, shape]. distance: from
    the camera, in m.
    """

    model: str = Field(min_length=1)
    count: Count
    size: Size
    backgrounds: str | None
    components: Annotated[int, Field(ge=1, le=45)]
    pose: Weight
    shape: Weight
    distance: tuple[Positive, Positive]
    seed: Seed


class Training(Section):
    """Settings of the training loop that no paper owns."""

    precision: Literal["float32", "bfloat16"]
    compile: bool
    validations: Count


class StackedModel(Section):
    """A stack of hourglasses: of plain residuals (lib/models/hourglass.py) or pyramids (lib/models/pyranet.py)."""

    name: Literal["hourglass", "pyranet"]
    stacks: Count
    channels: Annotated[int, Field(ge=4, multiple_of=4)]
    stem: Literal["newell", "pytorch-pose"]


class MobilePoseModel(Section):
    """An image classifier's encoder with a light decoder (lib/models/mobilepose.py)."""

    name: Literal["mobilepose"]
    encoder: Literal["resnet18", "mobilenet_v2", "shufflenet_v2"]
    channels: Annotated[int, Field(ge=8, multiple_of=8)]


class HrnetModel(Section):
    """HRNet with a head of one map per joint (lib/models/hrnet.py); by default with the depth of all published ones.

    blocks: of each branch of a module; modules: of stages 2 to 4; stem: channels of the first convolution and planes of
    the first stage. split: SimCC's classes per input pixel.
    """

    name: Literal["hrnet"]
    width: Annotated[int, Field(ge=4, multiple_of=4)]
    blocks: Count = 4
    modules: tuple[Count, Count, Count] = (1, 4, 3)
    stem: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    head: Head
    split: Positive = 2.0


class SimpleBaselineModel(Section):
    """A ResNet of bottleneck blocks with three deconvolutions (lib/models/simplebaseline.py).

    blocks: of the four stages; width: planes of the first stage; channels: of the deconvolutions. split: as of HRNet.
    """

    name: Literal["simplebaseline"]
    blocks: tuple[Count, Count, Count, Count]
    width: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    channels: Annotated[int, Field(ge=8, multiple_of=8)] = 256
    head: Head
    split: Positive = 2.0


class ResnetModel(Section):
    """A ResNet that tells the joints' positions in space (lib/models/resnet.py).

    blocks: of the four stages, [2, 2, 2, 2] basic ones in ResNet-18, [3, 4, 6, 3] bottlenecks in ResNet-50; width:
    planes of the first stage.
    """

    name: Literal["resnet"]
    block: Literal["basic", "bottleneck"]
    blocks: tuple[Count, Count, Count, Count]
    width: Annotated[int, Field(ge=4, multiple_of=4)] = 64


BranchModel = Annotated[StackedModel | MobilePoseModel, Field(discriminator="name")]
HeadModel = Annotated[HrnetModel | SimpleBaselineModel, Field(discriminator="name")]
Model = Annotated[
    StackedModel | MobilePoseModel | HrnetModel | SimpleBaselineModel | ResnetModel,
    Field(discriminator="name"),
]
Aggregation = Literal["mean", "gate", "fau"]


class Network(Section):
    """A model with its number of joints; input: height and width of its image where it is not that of all."""

    model: Model
    joints: Count
    input: Size | None = None


class TrainingNetwork(Network):
    """A network with further branches: so many stacks each, the shared ones included."""

    model: BranchModel
    shared: Shared
    auxiliary: tuple[Count, ...] = Field(min_length=1)
    aggregation: Aggregation
    variant: Variant = "paper"


class Complexity(Section):
    """Which networks are counted and timed, and how; those of `training` are never deployed and only counted."""

    input: Size
    batch_sizes: tuple[Count, ...] = Field(min_length=1)
    repeats: Count
    reference: str
    networks: dict[Name, Network]
    training: dict[Name, TrainingNetwork]


class Heatmap(Section):
    """Gaussian targets: sigma in heatmap pixels; peak value 1/(2 pi sigma^2) (density) or 1 (peak).

    centre: at the joint, or at the heatmap pixel nearest to it.
    """

    sigma: Positive
    scaling: Literal["density", "peak"]
    centre: Literal["subpixel", "pixel"]


class OneHot(Section):
    """SimCC targets: the joint's class; smoothing: the share that all other classes have in equal parts."""

    target: Literal["one_hot"]
    smoothing: Annotated[float, Field(ge=0, lt=1)]


class Gaussian(Section):
    """SimCC targets: a normal distribution about the joint; sigma in classes."""

    target: Literal["gaussian"]
    sigma: Positive


Simcc = Annotated[OneHot | Gaussian, Field(discriminator="target")]


class Augmentation(Section):
    """Random flip, scale range, rotation range in degrees, and how often only half of a body is shown."""

    flip: bool
    scale: tuple[Positive, Positive]
    rotation: Annotated[float, Field(ge=0, le=180)]
    half_body: Fraction


class Optimizer(Section):
    """Optimiser and schedule: the learning rate is multiplied by gamma after each epoch of milestones."""

    name: Literal["rmsprop", "adam"]
    lr: Positive
    weight_decay: Weight
    milestones: tuple[Count, ...]
    gamma: Positive


class Schedule(Section):
    """How long and with what a network is trained."""

    optimizer: Optimizer
    batch_size: Count
    epochs: Count


class Decoding(Section):
    """How outputs become coordinates at test time; refinement: of a heatmap's maximum (lib/codecs/heatmap.py)."""

    flip_test: bool
    refinement: Literal["none", "quarter", "dark"]


class PackScale(Section):
    """What a profile changes in the crops; synthetic: the number of rendered hands, null: as many as the paper's."""

    resolution: Share
    synthetic: Count | None


class PaperScale(Section):
    """What a profile changes in a paper's networks and schedule; null keeps the paper's value.

    resolution: the largest input, relative to the crops' at full size; depth: share of an hourglass network's stacks,
    of HRNet's modules and blocks and of a ResNet's blocks; width: of channels; train_samples: persons to train on;
    val_samples: images whose persons are predicted; threads: null, one per core.
    """

    resolution: Share
    depth: Share
    width: Share
    stem: Literal["newell", "pytorch-pose"] | None
    epochs: Share
    train_samples: Count | None
    val_samples: Count | None
    optimizer: Literal["rmsprop", "adam"] | None
    lr: Positive | None
    batch_size: Count | None
    threads: Count | None
