"""Sections of params.yaml about data: benchmarks, crops and rendered hands."""

from typing import Annotated, Literal

from pydantic import Field

from lib.params.sections import Count, Name, Positive, Section, Seed, Size, Weight


class OfficialFile(Section):
    """One file of a benchmark as its owner offers it (lib.data.fetch.Archive)."""

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
    """Where a benchmark comes from: synthetic, official, or a folder."""

    source: str = Field(min_length=1)


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


class CropsSpec(Section):
    """Crops of one dataset: network input (height, width) in px, box padding, and margin for the augmentation.

    boxes: whose boxes the validation crops show, the annotations' or a detector's (the two-stage protocol). subset: a
    camera or a version, of benchmarks that show everything several times; null: all images.
    """

    dataset: Name
    input: Size
    padding: Annotated[float, Field(ge=1, le=10)]
    margin: Annotated[float, Field(ge=1, le=10)]
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
