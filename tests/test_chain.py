"""The pipeline as DVC sees it, the README as a reader does, and what the repository pins."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from striate.configuration import FOLDER, compose
from striate.configuration.command import named, named_list
from striate.configuration.origin import Invocation
from striate.pipelines import stages
from striate.pipelines.stage_variants import variants

ROOT = Path(__file__).resolve().parents[1]
# One a seed, where a stage is several.
STAGES = {
    f"{name}@{number}" if "matrix" in stage else name: variant
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
    for number, variant in enumerate(variants(stage))
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_stages_depend_on_is_up_to_date():
    assert stages.run(check=True) == 0, "python src/stages.py"


def test_a_stage_lists_the_files_that_it_composes_and_no_others():
    sources, files = stages.dependencies("python src/train.py model=lenet5_modern optimizer=adam")
    assert "conf/model/lenet5_modern.yaml" in files
    assert "conf/optimizer/adam.yaml" in files
    assert not {"conf/model/mobilenet.yaml", "conf/optimizer/sgd.yaml", "conf/evaluate.yaml"} & set(files)
    assert "src/striate/models/lenet5.py" in sources
    assert not {"src/striate/models/mobilenet.py", "src/striate/pipelines/evaluate.py"} & set(sources)


@pytest.mark.parametrize("name", list(STAGES))
def test_every_dependency_of_a_stage_exists_or_is_an_output(name):
    outputs = {
        path for stage in STAGES.values() for kind in ("outs", "metrics", "plots") for path in paths(stage, kind)
    }
    for path in STAGES[name]["deps"]:
        made = any(output == path or output.startswith(f"{path}/") for output in outputs)
        assert (ROOT / path).exists() or made or path == "data/digits", path


def paths(stage, kind):
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in stage.get(kind, [])]


def test_the_stages_form_one_chain():
    produced = {path: name for name, stage in STAGES.items() for path in paths(stage, "outs")}
    needs = {
        name: {
            other for path in stage["deps"] for output, other in produced.items() if f"{output}/".startswith(f"{path}/")
        }
        for name, stage in STAGES.items()
    }
    seeds = range(5)
    assert needs == {
        "prepare": set(),
        "pretrain": {"prepare"},
        **{f"finetuned@{seed}": {"prepare", "pretrain"} for seed in seeds},
        **{f"scratch@{seed}": {"prepare"} for seed in seeds},
        "compare": {f"{way}@{seed}" for way in ("finetuned", "scratch") for seed in seeds},
        "evaluate": {"prepare", "finetuned@0"},
    }


def test_both_ways_of_the_comparison_have_the_same_seeds_and_no_folder_twice():
    folders = [
        path for stage in STAGES.values() for kind in ("outs", "metrics", "plots") for path in paths(stage, kind)
    ]
    assert len(folders) == len(set(folders))
    seeds = {way: [re.search(r"seed=(\d+)", STAGES[name]["cmd"])[1] for name in STAGES if name.startswith(f"{way}@")]
             for way in ("finetuned", "scratch")}  # fmt: skip
    assert seeds["finetuned"] == seeds["scratch"] == list("01234")


def test_the_embedded_remote_holds_every_pinned_picture():
    (pin,) = yaml.safe_load((ROOT / "data.dvc").read_text(encoding="utf-8"))["outs"]
    remote = ROOT / ".dvc" / "embedded" / "files" / "md5"

    def content(md5):
        stored = (remote / md5[:2] / md5[2:]).read_bytes()
        assert hashlib.md5(stored).hexdigest() == md5.removesuffix(".dir")
        return stored

    listing = json.loads(content(pin["md5"]))
    assert len(listing) == pin["nfiles"] == 1797
    for entry in listing:
        assert content(entry["md5"]).startswith(b"\x89PNG")
        assert re.fullmatch(r"\d/\d{4}\.png", entry["relpath"])


def test_the_lock_file_pins_by_hash_and_names_no_host():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if re.match(r"[A-Za-z0-9]", line)]
    assert len(pins) > 100
    assert all("==" in line for line in pins)
    assert not [line for line in lines if "://" in line or "index-url" in line]
    text = "\n".join(lines)
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        assert "--hash=sha256:" in entry, entry[:60]


def commands_of_the_readme():
    for block in re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("python src/"):
                yield line.partition("  #")[0].strip()


@pytest.mark.parametrize("line", list(commands_of_the_readme()))
def test_the_commands_of_the_readme_compose(line):
    _, script, *words = shlex.split(line)
    assert (ROOT / script).is_file()
    if script == "src/describe.py":
        words = named(words, "input")
    if script == "src/compare.py":
        words = named_list(words, "runs")
    if "-m" in words:  # the first of its trials
        words = [word.partition(",")[0] for word in words]
    compose(Path(script).stem, [word for word in words if not word.startswith("-")])


def test_every_option_of_every_group_composes():
    for group in (
        "model",
        "data",
        "augmentation",
        "optimizer",
        "scheduler",
        "loss",
        "trainer",
        "experiment",
        "debug",
        "logger",
    ):
        for file in sorted((FOLDER / group).glob("*.yaml")):
            words = [f"{group}={file.stem}"]
            if group == "data":
                words += ["data.root=somewhere", "data.source.classes=[a,b]"][: 2 if file.stem == "folder_masks" else 1]
            elif group == "augmentation":
                words += ["data.input_size=64"]
            if group == "data" and file.stem == "base":
                continue
            if words == ["experiment=finetune"]:  # for pictures of one's own
                words += ["data=folder", "data.root=somewhere"]
            compose("train", words)


def test_recipes_name_a_model_and_a_data_set_that_exist():
    # Hydra passes over an optional file that is misspelt, so that nobody would notice.
    pairs = {
        f"{model.stem}_{data.stem}"
        for model in (FOLDER / "model").glob("*.yaml")
        for data in (FOLDER / "data").glob("*.yaml")
    }
    recipes = {file.stem for file in (FOLDER / "recipe").glob("*.yaml")}
    assert recipes <= pairs
    assert compose("train", ["model=lenet5", "data=digits"]).optimizer.lr == 0.005
    assert compose("train", ["model=lenet5", "data=digits", "optimizer.lr=0.1"]).optimizer.lr == 0.1


@pytest.mark.parametrize("file", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda file: file.name)
def test_sweeps_compose(file):
    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert sweep["program"] == "src/train.py"
    assert "${args_no_hyphens}" in sweep["command"]
    chosen = []
    for name, values in sweep["parameters"].items():
        value = values.get("value", (values.get("values") or [values.get("min")])[0])
        chosen.append(f"{name}={value}")
    fixed = [word for word in sweep["command"] if "=" in word]
    config = compose("train", [*fixed, *chosen])
    assert config.logger.wandb is not None
    assert sweep["metric"]["name"] in ("val/top1_micro", "val/miou", "val/loss")
    assert Invocation("train", FOLDER, fixed).files()
