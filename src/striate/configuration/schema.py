"""What the root of each command's configuration may hold; everything below a `_target_` is ruled by its signature.

Names and types stand here, values in `conf/`. A field without a default must be in the YAML file; one with a default
may be missing (`~logger` on the command line leaves the whole node out) and is then filled with that default.
"""

from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, MinLen


class Component:
    """Annotation of a node that names its class by `_target_`."""


Components = dict[str, Component | None]


@dataclass
class Paths:
    """Directories; relative ones are relative to the current directory."""

    root_dir: Annotated[str, MinLen(1)]
    data_dir: Annotated[str, MinLen(1)]
    prepared_dir: Annotated[str, MinLen(1)]
    runs_dir: Annotated[str, MinLen(1)]


@dataclass
class Monitor:
    """The figure by which checkpoints are selected and training is stopped."""

    metric: str
    mode: Literal["min", "max"]


@dataclass
class Task:
    """`conf/task/`"""

    kind: Literal["auto", "classification", "backpropagation", "segmentation"]
    decay_depthwise: bool
    backbone_rate: Annotated[float, Ge(0)] = 1.0
    bias_rate: Annotated[float, Gt(0)] = 1.0


@dataclass
class Init:
    """`conf/init/`: the weights that training starts from."""

    kind: Literal["none", "checkpoint", "torchvision", "timm", "file"]
    path: str | None = None
    weights: Annotated[str, MinLen(1)] = "DEFAULT"
    mapping: dict[str, str] | str | None = None
    layout: Literal["auto", "torch", "keras"] = "auto"
    flatten: Literal["auto", "chw", "hwc"] = "auto"
    preprocessing: Literal["weights", "data"] = "weights"
    mean: list[Annotated[float, Ge(0), Le(1)]] | None = None
    std: list[Annotated[float, Gt(0), Le(1)]] | None = None
    head: Literal["auto", "keep", "new"] = "auto"
    grey: Literal["refuse", "sum", "mean"] = "refuse"
    resize: Literal["refuse", "bilinear"] = "refuse"
    exclude: list[str] = field(default_factory=list)
    freeze: list[str | int] = field(default_factory=list)
    train: Literal["all", "head"] | Annotated[int, Ge(0)] | list[str | int] = "all"
    first: Annotated[int, Ge(1)] | None = None
    unfreeze_every: Annotated[int, Ge(1)] | None = None
    stage_decay: Annotated[float, Gt(0)] = 1.0


@dataclass
class Train:
    """`conf/train.yaml`"""

    seed: Annotated[int, Ge(0)]
    test: bool
    deterministic: bool
    channels_last: bool
    compile: bool
    plan: bool
    find_lr: bool
    find_batch_size: bool
    resume: Literal["auto", "must", "never"]
    resume_allow: list[str]
    ckpt_path: str | None
    run_dir: str | None
    output_dir: str | None
    monitor: Monitor
    paths: Paths
    data: Component
    augmentation: Component
    model: Component
    task: Task
    loss: Component
    optimizer: Component
    trainer: Component
    scheduler: Component | None = None
    mistakes: bool = False
    choose: list[str] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)  # what was chosen, and why; a run writes it
    init: Init = field(default_factory=lambda: Init("none"))
    callbacks: Components = field(default_factory=dict)
    logger: Components = field(default_factory=dict)


@dataclass
class CrossValidate(Train):
    """`conf/cross_validate.yaml`"""

    workers: Annotated[int, Ge(1)] | Literal["auto"] = "auto"


@dataclass
class Prepare:
    """`conf/prepare.yaml`"""

    force: bool
    paths: Paths
    data: Component


@dataclass
class Evaluate:
    """`conf/evaluate.yaml`"""

    ckpt_path: Annotated[str, MinLen(1)]
    split: Literal["test", "val", "train"]
    calibrated: bool
    allow_other_data: bool
    batch_size: Annotated[int, Ge(1)] | None
    num_workers: Annotated[int, Ge(0)] | Literal["auto"] | None
    output_dir: str | None
    paths: Paths
    trainer: Component
    data: Component | None = None
    views: Component | None = None
    logger: Components = field(default_factory=dict)


@dataclass
class Predict:
    """`conf/predict.yaml`"""

    ckpt_path: Annotated[str, MinLen(1)]
    input: Annotated[str, MinLen(1)]
    output: Annotated[str, MinLen(1)] | None
    top_k: Annotated[int, Ge(1)]
    batch_size: Annotated[int, Ge(1)]
    calibrated: bool
    device: Literal["auto", "cpu", "cuda"]
    paths: Paths
    views: Component | None = None


@dataclass
class Probe:
    """`conf/probe.yaml`"""

    ckpt_path: Annotated[str, MinLen(1)] | None
    stages: Annotated[str, MinLen(1)] | int | list[str | int]
    max_features: Annotated[int, Ge(1)]
    strengths: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)]
    neighbours: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)]
    max_iterations: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)] | None
    num_workers: Annotated[int, Ge(0)] | Literal["auto"] | None
    device: Literal["auto", "cpu", "cuda"]
    output_dir: str | None
    paths: Paths
    data: Component | None = None
    model: Component | None = None
    init: Init = field(default_factory=lambda: Init("none"))


@dataclass
class Study:
    """`conf/study.yaml`"""

    study: Annotated[str, MinLen(1)]
    size: Annotated[str, MinLen(1)]
    seeds: Annotated[int, Ge(1)] | None
    workers: Annotated[int, Ge(1)] | Literal["auto"]
    overrides: list[str]
    plan: bool
    output_dir: str | None
    paths: Paths


@dataclass
class Summarize:
    """`conf/summarize.yaml`"""

    input: Annotated[list[int], Len(3, 3)] | None  # channels, height, width
    num_classes: Annotated[int, Ge(1)] | None
    batch_size: Annotated[int, Ge(1)]
    output_dir: str | None
    readme: str | None
    paths: Paths
    data: Component | None = None
    model: Component | None = None


@dataclass
class Convert:
    """`conf/convert.yaml`"""

    input: Annotated[str, MinLen(1)]
    weights: Annotated[str, MinLen(1)]
    output: Annotated[str, MinLen(1)]
    mapping: dict[str, str] | str | None
    accept_order: bool
    exclude: list[str]
    classes: str | None
    input_size: Annotated[int, Ge(1)] | None
    crop_fraction: Annotated[float, Gt(0), Le(1)] | None
    mean: list[Annotated[float, Ge(0)]] | None
    std: list[Annotated[float, Gt(0)]] | None
    pixels: Literal[1, 255]
    colours: Literal["rgb", "bgr"]
    layout: Literal["auto", "torch", "keras"]
    flatten: Literal["auto", "chw", "hwc"]
    paths: Paths
    task: Task
    loss: Component
    model: Component | None = None


@dataclass
class Describe:
    """`conf/describe.yaml`"""

    input: Annotated[str, MinLen(1)]
    format: Literal["text", "json"]
    paths: Paths


@dataclass
class CheckSanity(Train):
    """`conf/check_sanity.yaml`"""

    checks: Literal["all"] | list[str] = "all"
    steps: Annotated[int, Ge(1)] = 100
    pictures: Annotated[int, Ge(2)] = 20000
    sanity_dir: str | None = None


@dataclass
class Compare:
    """`conf/compare.yaml`"""

    runs: Annotated[list[str], MinLen(1)]
    figure: Annotated[str, MinLen(1)]
    split: Literal["test", "val"]
    repeats: list[str]
    against: Literal["first", "all"]
    names: list[str]
    again: bool
    output_dir: str | None
    paths: Paths


@dataclass
class CheckGradients:
    """`conf/check_gradients.yaml`"""

    seed: Annotated[int, Ge(0)]
    samples: Annotated[int, Ge(1)]
    entries: Annotated[int, Ge(1)]
    step: Annotated[float, Gt(0)]
    tolerance: Annotated[float, Ge(0)]
    tolerance_differences: Annotated[float, Ge(0)]
    paths: Paths
    data: Component
    model: Component
    loss: Component


@dataclass
class SweepReport:
    """`conf/sweep_report.yaml`"""

    sweep: Annotated[str, MinLen(1)]
    rows: Annotated[int, Ge(1)]
    paths: Paths


@dataclass
class ShowSamples:
    """`conf/show_samples.yaml`"""

    seed: Annotated[int, Ge(0)]
    first_epoch: Annotated[int, Ge(0)]
    epochs: Annotated[int, Ge(1), Le(64)]
    pictures: Annotated[int, Ge(1), Le(64)]
    output: Annotated[str, MinLen(1)]
    paths: Paths
    data: Component
    augmentation: Component


SCHEMAS: dict[str, type] = {
    "train": Train,
    "cross_validate": CrossValidate,
    "prepare": Prepare,
    "evaluate": Evaluate,
    "predict": Predict,
    "check_gradients": CheckGradients,
    "check_sanity": CheckSanity,
    "compare": Compare,
    "convert": Convert,
    "describe": Describe,
    "summarize": Summarize,
    "study": Study,
    "probe": Probe,
    "show_samples": ShowSamples,
    "sweep_report": SweepReport,
}


def schema_defaults(schema: Any) -> dict[str, Any]:
    """The values of the fields that may be missing."""
    values = {}
    for entry in fields(schema):
        if entry.default_factory is not MISSING:
            value = entry.default_factory()
            values[entry.name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        elif entry.default is not MISSING:
            values[entry.name] = entry.default
    return values
