"""Which networks of the family a file of weights fits, by its names or by its shapes."""

from functools import partial

import torch
import yaml

from striate.configuration import FOLDER
from striate.errors import StriateError
from striate.pipelines.expecting import outlined
from striate.transfer.layouts import canonical
from striate.transfer.matching import match
from striate.transfer.proposal import outline
from striate.transfer.reading import WeightFile

_SIDE = (32, 32)  # of the pictures for networks whose weights depend on it, where nobody says


def guess(file: WeightFile) -> list[str]:
    """The options of `model` whose layers are those of the file, each with how they were recognised."""
    tensors = canonical(file.tensors, "auto")[0]
    tensors = {
        name: tensor for name, tensor in tensors.items() if not name.startswith("aux")
    }  # heads beside the network
    found, build = [], partial(outlined, size=_SIDE)
    for option in sorted((FOLDER / "model").glob("*.yaml")):
        node = yaml.safe_load(option.read_text(encoding="utf-8"))
        try:
            with torch.device("meta"):
                fits = outline(partial(build, node), tensors)
            if fits is None:
                continue
            fit = match(node, tensors, build, ordered=file.ordered)
        except (StriateError, ValueError, TypeError):  # a name with another meaning, a network of other pictures
            continue
        found.append(f"model={option.stem} ({fit.num_classes} classes; {fit.how})")
    return found
