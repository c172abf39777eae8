"""HRNet for poses (Sun et al., Deep High-Resolution Representation Learning, CVPR 2019)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lib.models.posenet import PoseNetwork, check_counts, check_list


def configuration(width: int, blocks: int, modules: Sequence[int], stem: int) -> dict[str, Any]:
    """Sizes as timm takes them: a stage of bottlenecks, then one with 2, 3 and 4 branches of basic blocks each."""

    def stage(kind: str, modules: int, channels: tuple[int, ...]) -> dict[str, Any]:
        return {
            **{"block_type": kind, "num_modules": modules, "num_branches": len(channels), "num_channels": channels},
            **{"num_blocks": (blocks,) * len(channels), "fuse_method": "SUM"},
        }

    stages = {"stage1": stage("BOTTLENECK", 1, (stem,))}
    for number, count in enumerate(modules, start=2):
        stages[f"stage{number}"] = stage("BASIC", count, tuple(width * 2**branch for branch in range(number)))
    return {"stem_width": stem, **stages}


class HRNet(PoseNetwork):
    """HRNet: parallel branches from a quarter to 1/32 of the image that exchange features after every module.

    width: channels of the finest branch, doubled from one branch to the next. blocks: of each branch of a module, and
    of the first stage. modules: of stages 2 to 4. stem: channels of the first convolution and planes of the first
    stage; the second convolution has 64 channels. The defaults are the depth and stem of all published ones. The
    backbone is timm's, without the last fusion's outputs other than the finest one, from which nothing would follow.
    Initialisation is timm's for the backbone (He et al., fan-out) and PyTorch's default for the head.
    head, split, input_size and shapes: see PoseNetwork, which raises InputError, too.
    """

    def __init__(
        self,
        joints: int,
        width: int,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem: int = 64,
        head: str = "heatmap",
        split: float = 2.0,
        input_size: Sequence[int] | None = None,
    ):
        check_counts("hrnet", width=width, blocks=blocks, stem=stem)
        check_list("hrnet", "modules", modules, 3)
        super().__init__("hrnet", joints, width, head, split, input_size)
        from timm.models.hrnet import HighResolutionNetFeatures  # takes seconds, and every stage imports this package

        sizes = configuration(width, blocks, modules, stem)
        self.backbone = HighResolutionNetFeatures(sizes, feature_location="", out_indices=(1,))
        last = self.backbone.stage4[-1]
        last.fuse_layers = last.fuse_layers[:1]
        self.published = f"HRNet-W{width}" if (blocks, tuple(modules), stem) == (4, (1, 4, 3), 64) else None

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images)[0]


build = HRNet  # for build_model
