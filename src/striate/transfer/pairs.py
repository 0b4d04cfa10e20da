"""Which networks of public libraries ours are, and how their tensors are named there: data.

A mapping leads from the library's names to ours (`renaming` has the syntax). The names and shapes of both sides must be
covered by it, so an option that changes a shape needs no rule here; one that changes the arithmetic alone does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIBRARIES = ("torchvision", "timm")  # that publish weights which init=… can fetch
CIFAR_RESNET, KERAS = "pytorch_resnet_cifar10", "keras.applications"  # the widely copied training script; Keras's own


@dataclass(frozen=True)
class Pair:
    """One network in a library and in ours.

    Args:
        library: one of `LIBRARIES`, or what else writes files of these names.
        name: there.
        target: the class of ours.
        when: options of ours that name the architecture; the pair is chosen by them.
        requires: options of ours that its arithmetic needs; they are set, unless a person wanted something else.
        fixed: options of ours, each with the values under which the arithmetic is theirs.
        mapping: their names → ours.
        unused: patterns of their tensors that ours may lack.
        levels: (mean, std) that replace those of the library, where their network normalises its input once more.
        published: whether init=… fetches its weights; those of others come in files that are known by their names.
    """

    library: str
    name: str
    target: str
    when: Mapping[str, Any]
    requires: Mapping[str, Any]
    mapping: Mapping[str, str]
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    levels: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    published: bool = True

    def is_of(self, options: Mapping[str, Any]) -> bool:
        """Whether this is the network that our class is with these options."""
        return all(options.get(key) == value for key, value in self.when.items())


_EPS = {"batch_norm_eps": (1e-5,)}  # PyTorch's
_MOBILENET_REQUIRES, _MOBILENET_FIXED = {"activation": "relu6", "batch_norm_eps": 1e-5}, {"padding": ("symmetric",)}
_RESNET = {
    "layer{s}.{b}.downsample.0.*": "conv{s+1}_x.conv{s+1}_{b+1}.shortcut.conv.*",
    "layer{s}.{b}.downsample.1.*": "conv{s+1}_x.conv{s+1}_{b+1}.shortcut.bn.*",
    "layer{s}.{b}.*": "conv{s+1}_x.conv{s+1}_{b+1}.*",
}
# Their convolutions have biases before batch norm, which `layouts.absorbed` takes into it; Dense was probs until 2019.
_KERAS_RESNET = {
    "conv1_conv.*": "conv1.*",
    "conv1_bn.*": "bn1.*",
    "conv{s}_block{b}_0_conv.*": "conv{s}_x.conv{s}_{b}.shortcut.conv.*",
    "conv{s}_block{b}_0_bn.*": "conv{s}_x.conv{s}_{b}.shortcut.bn.*",
    "conv{s}_block{b}_{c}_conv.*": "conv{s}_x.conv{s}_{b}.conv{c}.*",
    "conv{s}_block{b}_{c}_bn.*": "conv{s}_x.conv{s}_{b}.bn{c}.*",
    "probs.*": "fc.*",
    "predictions.*": "fc.*",
}
_GOOGLENET = {
    "conv3.*": "conv2.*",
    "conv2.*": "conv2_reduce.*",
    "inception{n}*.branch1.*": "inception{n}*.conv1x1.*",
    "inception{n}*.branch2.0.*": "inception{n}*.reduce3x3.*",
    "inception{n}*.branch2.1.*": "inception{n}*.conv3x3.*",
    "inception{n}*.branch3.0.*": "inception{n}*.reduce5x5.*",
    "inception{n}*.branch3.1.*": "inception{n}*.conv5x5.*",
    "inception{n}*.branch4.1.*": "inception{n}*.proj.*",
}
_ALEXNET = {
    **{f"features.{place}.*": f"conv{number}.*" for number, place in enumerate((0, 3, 6, 8, 10), start=1)},
    **{f"classifier.{place}.*": f"fc{number}.*" for number, place in ((6, 1), (7, 4), (8, 6))},
}
# Convolutions of the five blocks of VGG; C is in no library.
_VGG = {"A": (11, (1, 1, 2, 2, 2)), "B": (13, (2, 2, 2, 2, 2)), "D": (16, (2, 2, 3, 3, 3)), "E": (19, (2, 2, 4, 4, 4))}
_VGG_HEADS = {
    "torchvision": {"classifier.0.*": "fc6.*", "classifier.3.*": "fc7.*", "classifier.6.*": "fc8.*"},
    "timm": {"pre_logits.fc1.*": "fc6.*", "pre_logits.fc2.*": "fc7.*", "head.fc.*": "fc8.*"},
}
# Blocks of MobileNet's stages as timm counts them.
_MOBILENET = (1, 2, 2, 6, 2)


def _vgg_features(blocks: tuple[int, ...], batch_norm: bool) -> dict[str, str]:
    # The layers of a block are numbered through: convolution, batch norm if any, ReLU; a pooling after the block.
    mapping, place = {}, 0
    for block, count in enumerate(blocks, start=1):
        for index in range(1, count + 1):
            mapping[f"features.{place}.*"] = f"conv{block}_{index}.*"
            if batch_norm:
                mapping[f"features.{place + 1}.*"] = f"bn{block}_{index}.*"
            place += 3 if batch_norm else 2
        place += 1
    return mapping


def _mobilenet() -> dict[str, str]:
    mapping, number = {"conv_stem.*": "conv0.*", "bn1.*": "bn0.*", "classifier.*": "fc.*"}, 0
    for stage, count in enumerate(_MOBILENET):
        for index in range(count):
            number += 1
            theirs = {"conv_dw": "dw", "bn1": "dw_bn", "conv_pw": "pw", "bn2": "pw_bn"}
            mapping |= {f"blocks.{stage}.{index}.{one}.*": f"block{number}.{own}.*" for one, own in theirs.items()}
    return mapping


def _pairs() -> list[Pair]:
    pairs = [
        Pair("torchvision", "alexnet", "striate.models.alexnet.AlexNet", {}, {"towers": 1}, _ALEXNET,
             {"lrn": (None, False), "conv1_padding": (None, 2), "activation": ("relu",), "batch_norm": (False,)}),
        Pair("torchvision", "googlenet", "striate.models.googlenet.GoogLeNet", {},
             {"form": "torchvision", "batch_norm": True}, _GOOGLENET, {"batch_norm_eps": (1e-3,)},
             unused=("aux1.*", "aux2.*"), levels=((0.5,) * 3, (0.5,) * 3)),
    ]  # fmt: skip
    for library in LIBRARIES:
        for depth in (18, 34, 50, 101, 152):
            stride = {"stride_in": "3x3"} if depth >= 50 else {}
            pairs.append(Pair(library, f"resnet{depth}", "striate.models.resnet.ResNet", {"depth": depth},
                              {"shortcut": "B", **stride}, _RESNET, _EPS))  # fmt: skip
        for configuration, (layers, blocks) in _VGG.items():
            for batch_norm in (False, True):
                names = _vgg_features(blocks, batch_norm) | _VGG_HEADS["torchvision"] | _VGG_HEADS[library]
                which = {"configuration": configuration, "batch_norm": batch_norm}
                pairs.append(Pair(library, f"vgg{layers}{'_bn' if batch_norm else ''}", "striate.models.vgg.VGG", which,
                                  {}, names, {"ceil_mode": (False,), **_EPS}))  # fmt: skip
    depths: tuple[dict[str, Any], ...] = (*({"depth": depth} for depth in (20, 32, 44, 56, 110, 1202)), {})
    for when in depths:
        pairs.append(Pair(CIFAR_RESNET, f"resnet{when.get('depth', '')}", "striate.models.resnet.CifarResNet", when,
                          {"shortcut": "A-middle"}, _RESNET | {"linear.*": "fc.*"}, _EPS, published=False))  # fmt: skip
    for depth in (50, 101, 152):
        requires = {"shortcut": "B", "stride_in": "1x1", "batch_norm_eps": 1.001e-5}
        pairs.append(Pair(KERAS, f"ResNet{depth}", "striate.models.resnet.ResNet", {"depth": depth}, requires,
                          _KERAS_RESNET, published=False))  # fmt: skip
    widths: dict[str, dict[str, Any]] = {"_100": {"width_multiplier": 1.0}, "_125": {"width_multiplier": 1.25}, "": {}}
    for suffix, when in widths.items():
        pairs.append(Pair("timm", f"mobilenetv1{suffix}", "striate.models.mobilenet.MobileNet", when,
                          _MOBILENET_REQUIRES, _mobilenet(), _MOBILENET_FIXED, published=bool(when)))  # fmt: skip
    return pairs


PAIRS: tuple[Pair, ...] = tuple(_pairs())


def find_pair(library: str, target: str, options: Mapping[str, Any]) -> Pair | None:
    """The network of a library, with weights that it publishes, that a class of ours with these options is, or None."""
    for pair in PAIRS:
        if pair.published and pair.library == library and pair.target == target and pair.is_of(options):
            return pair
    return None
