"""`python src/convert.py`: from a file of weights to a checkpoint that describes itself."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from striate import runs
from striate.configuration import masked, plain
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError
from striate.messages import calm_libraries, say, shown
from striate.pipelines.comparing import print_names, refuse_gaps
from striate.pipelines.expecting import expectation, measured, passport
from striate.pipelines.matching_files import gaps_of, match_file, other_layout
from striate.pipelines.starting import typed_keys
from striate.storage import require_writable, save_checkpoint, sha256_of
from striate.tasks.building import build_task, construct_network
from striate.transfer.foreign import translate
from striate.transfer.libraries import Expected, published
from striate.transfer.matching import Match
from striate.transfer.pairs import LIBRARIES
from striate.transfer.proposal import COUNTER
from striate.transfer.reading import WeightFile, read_weights
from striate.transfer.renaming import read_mapping
from striate.transfer.variant import choose
from striate.transfer.weights import load_weights, require_finite


def run(cfg: DictConfig) -> dict[str, float]:
    """Matches, shows both lists of names, and writes the checkpoint.

    Returns:
        How many tensors and parameters were taken over, classes and channels.

    Raises:
        ConfigurationError: the file does not fit, or not in one way only; the lists are shown before.
        StorageError: a damaged, hostile or unreachable file, or an output that cannot be written.
    """
    calm_libraries()
    config = plain(cfg)
    output = Path(config["output"])
    if output.suffix != ".ckpt":
        raise ConfigurationError(f"output={output} is no .ckpt file", nearest=f"output={output.with_suffix('.ckpt')}")
    if config["model"] is None:
        do = f"model=OPTION; those that fit are named by: python src/describe.py {config['input']}"
        raise ConfigurationError("model is missing: which network are these weights of?", do=do)
    require_writable(output.parent)
    path, library, source = locate(config)
    file = read_weights(path)
    if config["exclude"]:
        kept = {name: tensor for name, tensor in file.tensors.items() if not excluded(name, config["exclude"])}
        file = WeightFile(file.path, file.kind, kept, file.ordered, file.notes)
    mapping = read_mapping(config["mapping"], "mapping")
    found, tensors = match_file(config, file, mapping, config["layout"])
    print_names(found, tensors, source)
    for line in (*file.notes, found.line, *(measured(library) if library else ())):
        if line:
            say(line)
    gaps = gaps_of(found, tensors)
    nearest = other_layout(config, file, mapping) if gaps else None
    refuse_gaps(found, gaps, accept=config["accept_order"], nearest=nearest)
    return write(config, file, found, expectation(config, found, library), output, source)


def locate(config: Mapping[str, Any]) -> tuple[Path, Expected | None, str]:
    """The file, what a library says of it, and what it is in words."""
    if config["input"] not in LIBRARIES:
        path = Path(config["input"]).expanduser()
        return path, None, shown(path)
    _, pair, _ = choose(config["model"], config["input"], typed_keys())
    wanted = published(pair, config["weights"])
    return wanted.fetch(), wanted.expected, str(wanted)


def excluded(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def write(
    config: Mapping[str, Any], file: WeightFile, found: Match, expected: Expected, output: Path, source: str
) -> dict[str, float]:
    """Loads the tensors into the network and saves it with all that evaluate and predict need."""
    levels, size, crop = (expected.mean, expected.std), expected.input_size, expected.crop_fraction
    assert size is not None
    assert crop is not None
    meta = passport(f"{output.stem} (converted)", expected.classes or (), found.in_channels, levels)
    view = Preprocessing(meta.channels, *levels, {}, size, crop)
    network = construct_network(found.model, meta, (size, size))
    weights, notes = translate(
        network, file, found.proposal.mapping, layout=config["layout"], flatten=config["flatten"]
    )
    if config["colours"] == "bgr":
        first = next(name for name, tensor in network.state_dict().items() if tensor.ndim == 4)
        weights[first] = weights[first].flip(1)
        notes.append(f"{first}: blue, green, red became red, green, blue")
    optional = (f"*{COUNTER}", *(found.pair.unused if found.pair else ()))
    report = load_weights(
        network, weights, [], source=source, new_head=False, optional=optional,
        do=lambda _: "other options of the model, mapping=FILE, or layout=torch | keras",
    )  # fmt: skip
    require_finite(weights, report, "take another file: nothing of the network may be left out")
    origin = {
        "source": source if file.path.name in source else f"{source} ({file.path.name})",
        "sha256": sha256_of(file.path),
        "matched": found.how,
        "mapping": found.proposal.mapping,
        "notes": [*file.notes, *notes],
    }
    record = {
        **{key: config[key] for key in ("task", "loss")},
        **{"seed": 0, "deterministic": True, "channels_last": True, "trainer": {"precision": "32-true"}},
        "model": found.model,
        "data": {"input_size": size, "crop_fraction": crop},
        "converted": origin,
    }
    task = build_task(masked(record), network, meta, view, code=runs.code_version(), trains=False)
    save_checkpoint({"state_dict": task.state_dict(), "striate": task.record}, output)
    for note in notes:
        say(note)
    say(
        f"{shown(output)}: {type(network).__name__}, {meta.num_classes} classes, pictures of "
        f"{meta.channels}×{size}×{size} (crop {crop:.3g}), mean {list(meta.mean)}, std {list(meta.std)}\n"
        f"Next: python src/evaluate.py ckpt_path={shown(output)} data=folder data.root=PATH"
    )
    return {"tensors": len(report.loaded), "classes": meta.num_classes, "channels": meta.channels}
