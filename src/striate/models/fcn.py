"""FCN: a classifier turned fully convolutional, its scores fused with those of finer maps."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import check_choice
from striate.models.segmentation import Backbone, SegmentationNetwork
from striate.models.upsampling import BilinearUpsampling
from striate.models.vgg import VGG

# Strides of the skips of each variant; the names of their scores, and of the upsampling before they are added.
SKIPS = {32: (), 16: (16,), 8: (16, 8)}
NAMES = {16: "score_pool4", 8: "score_pool3"}
BEFORE = {16: "upscore2", 8: "upscore_pool4"}


class FCN(SegmentationNetwork):
    """FCN-32s, -16s and -8s (Long, Shelhamer, Darrell 2015, arXiv:1411.4038, sec. 4.2, Fig. 3).

    =============  =============================================  ==================  ===========
    layer          what                                           output, 500×500 in  variants
    =============  =============================================  ==================  ===========
    backbone       VGG-16 to fc7, the dense layers convolutions   4096×16×16          all
    score_fr       1×1                                            K×16×16             all
    upscore2       transposed 4×4, stride 2                       K×34×34             16s, 8s
    score_pool4    1×1 on pool4, its cut-out added                K×44×44             16s, 8s
    upscore_pool4  transposed 4×4, stride 2                       K×70×70             8s
    score_pool3    1×1 on pool3, its cut-out added                K×88×88             8s
    upscore32      transposed 64×64, stride 32                    K×544×544           32s
    upscore16      transposed 32×32, stride 16                    K×560×560           16s
    upscore8       transposed 16×16, stride 8                     K×568×568           8s
    (crop)         from row and column 19, 27 or 31               K×500×500           32s, 16s, 8s
    =============  =============================================  ==================  ===========

    =======  ===========  ===========  ===============
    variant  parameters   that train   mult-adds
    =======  ===========  ===========  ===============
    32s      136,152,917  134,346,581  181,365,854,976
    16s      134,815,994  134,357,354  181,448,086,272
    8s       134,489,759  134,362,751  181,529,034,048
    =======  ===========  ===========  ===============

    (3 channels, 21 classes, 500×500, fixed upsampling.)

    Staged training 32s → 16s → 8s: each starts from the checkpoint of the one before (init=checkpoint); the layers of
    the same name are loaded, the scores of the new skip start at 0, so that it begins with what the coarser one did,
    but for the difference between interpolating in two steps and in one.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: a classifier with maps at strides 32 and, for finer variants, 16 and 8; where dense layers lead to its
            classifier (VGG), they become convolutions, else (ResNet) the scores come from the last map.
        finest_stride: 32, 16 or 8.
        padding: of the picture, 100 as in the authors' release, which lets the first dense layer see the border as
            often as the middle; or 0, much cheaper: that layer pads its own map.
        upsampling: "fixed" bilinear kernels as in the release; "intermediate", where those before the last start
            bilinear and learn, as in the paper; "learned", where all do.
        grouped: upsamples every class by itself; without it, as in the release, the kernels are stored for all pairs of
            classes, the more of which there are the more it costs.

    Input: any size.

    Differs from the paper: pooling windows stand over as in Caffe, which the paper does not say. Fixed scales for the
    skips, which the release's at-once training has, are not needed by the staged training.
    """

    paper_input = (3, 500, 500)
    classifier_name = "score_fr"
    optional_weights = ("upscore*", "score_pool3.*", "score_pool4.*")

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = partial(VGG, configuration="D", ceil_mode=True),  # noqa: B008
        finest_stride: int = 8,
        padding: int = 100,
        upsampling: str = "fixed",
        grouped: bool = False,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("finest_stride", finest_stride, SKIPS)
        check_choice("padding", padding, (100, 0))
        check_choice("upsampling", upsampling, ("fixed", "intermediate", "learned"))
        body = self._take_backbone(backbone, dense=True)
        coarse = self.feature_info[self.last_stage].stride
        if coarse != 32:
            raise ValueError(f"FCN needs a backbone of stride 32; {type(body).__name__} has {coarse} at its end")
        self.num_features, self.finest_stride = body.num_features, finest_stride
        self.margin, self.lost = self._fit(padding)
        self.score_fr = nn.Conv2d(body.num_features, num_classes, 1)
        layers, self.skips = ["score_fr"], {}
        for stride in SKIPS[finest_stride]:
            stage = self._stage_at(stride)
            learned = upsampling != "fixed"
            skip = nn.Conv2d(self.feature_info[stage].channels, num_classes, 1)
            self.add_module(BEFORE[stride], BilinearUpsampling(num_classes, 2, learned=learned, grouped=grouped))
            self.add_module(NAMES[stride], skip)
            self.skips[stride] = stage
            layers += [BEFORE[stride], NAMES[stride]]
        last, learned = f"upscore{finest_stride}", upsampling == "learned"
        self.add_module(last, BilinearUpsampling(num_classes, finest_stride, learned=learned, grouped=grouped))
        self.class_layers = (*layers, last)
        self._initialise()

    def _fit(self, padding: int) -> tuple[int, int]:
        """The margin around the picture, and how many units the first dense layer leaves out before its first.

        conv1 pads 1 itself, so that 99 more are the 100 of the release.
        """
        first = next((layer for layer in map(self._layer, self.backbone.head) if isinstance(layer, nn.Conv2d)), None)
        side = 1 if first is None else first.kernel_size[0]
        if side % 2 == 0:
            raise ValueError(
                f"FCN needs an odd pooled_size of its backbone, so that its scores have a middle; got {side}"
            )
        if padding == 100 and side > 1:
            return 99, side // 2
        if first is not None:
            first.padding = (side // 2, side // 2)
        return 0, 0

    def _stage_at(self, stride: int) -> str:
        """Of VGG's maps of a stride the pooled one, as in the paper, of others the last."""
        pooled = [stage for stage, info in self.feature_info.items() if info.stride == stride and "pool" in stage]
        return pooled[0] if pooled else self.stage_at(stride)

    def _layer(self, name: str) -> nn.Module:
        return self.backbone.get_submodule(name)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        margin, first = self.margin, self.lost
        if margin:
            x = F.pad(x, (margin, margin, margin, margin))
        maps = self.maps(x, [*self.skips.values(), self.last_stage])
        scores = self.score_fr(self.backbone.forward_head(maps[self.last_stage]))
        # Unit i of the scores is unit i + first of the map at their stride; unit i of what a transposed convolution
        # makes of them is unit i + 2 · first - 1 of the map at half the stride.
        for stride, stage in self.skips.items():
            scores, first = self.get_submodule(BEFORE[stride])(scores), 2 * first - 1
            skip = self.get_submodule(NAMES[stride])(maps[stage])
            if first >= 0:
                scores = scores + crop(skip, first, scores.shape[2:])
            else:
                scores, first = crop(scores, -first, skip.shape[2:]) + skip, 0
        stride = self.finest_stride
        scores = self.get_submodule(f"upscore{stride}")(scores)
        return crop(scores, margin + stride // 2 - stride * first, size).contiguous()

    def _initialise_scores(self, layer: nn.Conv2d) -> None:
        """Zero (sec. 4.3)."""
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def crop(x: Tensor, first: int, size: tuple[int, ...]) -> Tensor:
    """The cut-out of (H, W) from row and column `first` on."""
    assert first >= 0
    assert all(first + side <= have for side, have in zip(size, x.shape[2:], strict=True))
    return x[:, :, first : first + size[0], first : first + size[1]]
