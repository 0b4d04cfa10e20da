"""A run's first weights: the variant that they fit, where they lie, how pictures must be shown to them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from striate import runs
from striate.configuration.schema import Init
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError
from striate.messages import say, shown
from striate.pipelines.expecting import measured, outlined
from striate.storage import sha256_of
from striate.transfer.backbones import choose_inner, has_pairs, recognise_inner
from striate.transfer.initialization import Foreign, TransferReport, initialise
from striate.transfer.layouts import canonical
from striate.transfer.libraries import Expected, Published, published
from striate.transfer.pairs import LIBRARIES
from striate.transfer.reading import read_weights
from striate.transfer.renaming import read_mapping


def settle(config: dict[str, Any]) -> None:
    """Puts into the configuration what its `init` implies: the variant of the network, the mapping, the weights' name.

    Nothing is read but files that the group names, and nothing downloaded.

    Raises:
        ConfigurationError: weights that there are not, or of another arithmetic than asked for.
        StorageError: a damaged file.
    """
    if config["init"]["kind"] in ("file", *LIBRARIES):
        config["init"] = asdict(Init(**config["init"]))  # with what conf/init leaves out for this kind
    init, line = config["init"], ""
    if init["kind"] == "file":
        init["mapping"] = read_mapping(init["mapping"], "init.mapping")
        # A person's own mapping, and pairs by order, say nothing of the arithmetic.
        if init["mapping"] is None and has_pairs(config["model"]):
            tensors = canonical(read_weights(given_file(init["path"])).tensors, init["layout"])[0]
            config["model"], line = recognise_inner(config["model"], tensors, outlined, typed_keys())
    if init["kind"] in LIBRARIES:
        config["model"], _, line = choose_inner(config["model"], init["kind"], typed_keys())
        init["weights"] = library_weights(config).weights
    if line:
        say(line)


def typed_keys() -> set[str]:
    """The keys that were given on the command line of this process."""
    return {word.lstrip("+").partition("=")[0] for word in typed_words()}


def typed_words() -> Sequence[str]:
    """The words of the command line of this process that give keys and groups their values."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else ()


def library_weights(config: Mapping[str, Any]) -> Published:
    """The published weights that the `init` group names."""
    _, pair, _ = choose_inner(config["model"], config["init"]["kind"])
    return published(pair, config["init"]["weights"])


def first_weights(
    config: Mapping[str, Any], network: nn.Module, classes: Sequence[str], preprocessing: Preprocessing
) -> tuple[TransferReport | None, Preprocessing, str]:
    """Gives a network its first weights.

    Args:
        config: settled.
        network: of that configuration.
        classes: of the data.
        preprocessing: of the data.

    Returns:
        What was done, the preprocessing that the weights expect, and the SHA-256 of their file ("" for none).

    Raises:
        ConfigurationError: tensors that nothing covers.
        StorageError: a missing, damaged or unreachable file.
    """
    init = config["init"]
    if init["kind"] == "none":
        return initialise(network, init, None, classes), preprocessing, ""
    path, foreign = locate(config)
    report = initialise(network, init, path, classes, foreign)
    if foreign is not None and foreign.expected is not None and init["preprocessing"] == "weights" and report:
        preprocessing = expecting(preprocessing, foreign.expected)
        report.notes += measured(foreign.expected)
        report.notes.append(
            f"pictures are shown as these weights expect them: mean {_levels(preprocessing.mean)}, deviation "
            f"{_levels(preprocessing.std)} (init.preprocessing=data: the set's own)"
        )
    return report, preprocessing, sha256_of(path)


def locate(config: Mapping[str, Any]) -> tuple[Path, Foreign | None]:
    """The file of the first weights, and what is known of them where they are not Striate's."""
    init = config["init"]
    kind, given = init["kind"], init["path"]
    if kind == "checkpoint":
        runs_dir = Path(config["paths"]["runs_dir"])
        return runs.resolve_checkpoint(given, runs_dir, key="init.path", finished=True), None
    path = None if given is None else given_file(given)
    if kind in LIBRARIES:
        wanted = library_weights(config)
        source = str(wanted) if path is None else f"{shown(path)} (as {wanted})"
        return path or wanted.fetch(), Foreign(source, wanted.pair, wanted.expected)
    assert path is not None
    levels = init["mean"], init["std"]
    if None in levels and levels != (None, None):
        raise ConfigurationError("init.mean and init.std go together", do="give both, on a scale of 0 to 1")
    expected = None if init["mean"] is None else Expected(tuple(init["mean"]), tuple(init["std"]))
    return path, Foreign(shown(path), None, expected)


def given_file(given: str) -> Path:
    """The file of weights that a person names."""
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"init.path={given}: there is no such file", do="name a file of weights")
    return path


def expecting(preprocessing: Preprocessing, expected: Expected) -> Preprocessing:
    """The same view of pictures, with the levels that weights expect; the mean of the colours for grey pictures."""
    channels = preprocessing.channels
    if channels == 1 and len(expected.mean) == 3:
        return replace(preprocessing, mean=(sum(expected.mean) / 3,), std=(sum(expected.std) / 3,))
    if len(expected.mean) != channels or len(expected.std) != channels:
        raise ConfigurationError(
            f"the weights expect {len(expected.mean)} channels, the pictures have {channels}",
            do=f"init.preprocessing=data, or data.prepare.channels={len(expected.mean)}",
        )
    return replace(preprocessing, mean=expected.mean, std=expected.std)


def _levels(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
