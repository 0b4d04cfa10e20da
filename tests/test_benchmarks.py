"""Every measurement runs and gives figures for all its peers. No test asserts a speed."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
psutil = pytest.importorskip("psutil")


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """Scripts import their neighbours; what they are called here must not stay importable for other tests."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield
    own = {path.stem for path in BENCHMARKS.glob("*.py")}
    for name in own & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks")


def sane(rows, *others):
    assert {row.against for row in rows if row.other} == set(others)
    for row in rows:
        assert row.ours
        assert all(value > 0 for value in (*row.ours, *row.other)), row
        assert len(row.ours) == len(row.other) or not row.other
    return rows


def chosen(step, *words):
    """What the command line gives."""
    return step.parser().parse_args(["--quick", "--clock", "cpu", *words])


def test_loaders(folder):
    pytest.importorskip("timm")
    rows = importlib.import_module("loader").measure(folder, 1, True)
    both = "decoders of picture and mask alone"
    sane(rows, "torchvision", "timm", "albumentations", "copy and convert", "decoder alone", both)
    assert [row.least for row in rows if row.against == "torchvision"] == [8.0, 8.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3)])
def test_peers_give_normalised_batches(folder, kind, size, channels):
    peers, pictures = importlib.import_module("peers"), importlib.import_module("pictures")
    if kind == "timm":
        pytest.importorskip("timm")
    pack = pictures.array_pack(folder / f"peer{size}", size, channels, 256)
    images, targets = next(iter(getattr(peers, f"{kind}_arrays")(pictures.InMemory(pack), size, channels, 64)))
    assert images.shape == (64, channels, size, size)
    assert targets.shape == (64,)
    assert abs(images.mean()) < 0.4  # random bytes, less what is padded black
    assert 0.6 < images.std() < 1.2  # resampling smooths


def test_speed_of_the_training_command(folder):
    step = importlib.import_module("step")
    network, options = step.NETWORKS["lenet5_modern"], chosen(step)
    words = step.overrides(network, step.pack_of(network, folder, 0.02), options)
    assert step.trained(words, epochs=2, threads=1, clock="cpu") > 0


@pytest.mark.parametrize("name", ["lenet5_modern", "lenet5"])
def test_speed_of_the_bare_loop(folder, name):
    step = importlib.import_module("step")
    network, options = step.NETWORKS[name], chosen(step)
    words = step.overrides(network, step.pack_of(network, folder, 0.02), options)
    assert step.bare(words, 0.05, "cpu", keep=False) > 0


def test_speed_of_lightning(folder):
    pytest.importorskip("torchmetrics")
    step, peer = importlib.import_module("step"), importlib.import_module("lightning_peer")
    network, options = step.NETWORKS["lenet5_modern"], chosen(step)
    words = step.overrides(network, step.pack_of(network, folder, 0.02), options)
    assert peer.speed_of({"words": words, "size": 28, "epochs": 2, "clock": "cpu"}) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5_modern", "lenet5", "resnet20", "mobilenet", "unet_resnet18"])
def test_steps(folder, name):
    step = importlib.import_module("step")
    others = ["bare loop", "bare loop, memory kept", *(["Lightning"] if step.NETWORKS[name].lightning else [])]
    rows = sane(step.measure_network(name, chosen(step), folder), *others)
    assert rows[0].least == step.NETWORKS[name].least


def test_prepare(folder):
    prepare = importlib.import_module("prepare")
    rows = sane(prepare.measure(folder / "prepare", 1, True), "decoder alone", "decoder alone, memory kept")
    assert sum(row.least is not None for row in rows) == 2


def test_probe(folder):
    probe = importlib.import_module("probe")
    rows = probe.measure(folder, 1, True, ("lenet5_modern",))
    assert [row.least for row in sane(rows, *(row.against for row in rows))] == [10.0, 10.0]
    assert rows[0].against == "forward pass"


def test_frozen_stages():
    rows = importlib.import_module("freezing").measure(1, True, (("resnet18", 32, 2),))
    assert [row.least for row in sane(rows, "floor", "all layers")] == [0.9, 2.0]


@pytest.mark.slow
def test_first_step_of_the_default_run(folder):
    startup = importlib.import_module("startup")
    startup.make_digits(folder / "first")
    assert startup.seconds_of("src/train.py", "--help") > 0
    assert startup.seconds_to_first_step(folder / "first", keep_pack=False) > 0
    assert (folder / "first" / "prepared" / "digits" / "meta.json").is_file()


@pytest.mark.slow
def test_startup(folder):
    startup = importlib.import_module("startup")
    rows = sane(startup.measure(folder / "startup", 1, True), "import torch, lightning.pytorch")
    assert [row.most for row in rows] == [2.5, 8.0, 8.0]


@pytest.mark.slow
def test_memory_of_a_training_within_a_limit(folder):
    memory = importlib.import_module("memory")
    own, resident = sane(memory.large_pack(folder / "memory", 2))
    assert own.ours[0] < resident.ours[0]
    assert own.met


@pytest.mark.slow
def test_memory_over_epochs(folder):
    memory = importlib.import_module("memory")
    assert [row.unit for row in memory.many_epochs(folder / "epochs", 20)] == ["MiB", "handles"]


def test_memory_of_a_training_that_fails_says_why(folder):
    memory = importlib.import_module("memory")
    with pytest.raises(RuntimeError, match="no such thing"):
        memory.watched([sys.executable, "-c", "raise SystemExit('no such thing')"], folder / "x" / "history.csv", 0.01)


def test_growth_over_epochs():
    memory = importlib.import_module("memory")
    samples = [{"epoch": epoch, "anonymous": 500 + epoch / 100, "resident": 1, "handles": 7} for epoch in range(101)]
    grown, handles = memory.growth(samples, 101)
    assert grown.ours[0] == pytest.approx(10)
    assert not grown.met
    assert handles.met


@pytest.mark.parametrize(
    ("unit", "ours", "other", "ratio"),
    [("pictures/s", (20.0, 30.0), (10.0, 10.0), (2, 3)), ("s", (2.0,), (1.0,), (0.5,))],
)
def test_ratios_are_taken_by_repetition_and_above_one_is_better(unit, ours, other, ratio):
    row = importlib.import_module("measuring").Row("it", unit, ours, "peer", other, least=2.5)
    assert tuple(row.ratios) == ratio
    assert row.met == (unit != "s")


def test_cases_are_interleaved_after_a_turn_that_does_not_count():
    measuring, seen = importlib.import_module("measuring"), []

    def case(name):
        return measuring.Case(name, lambda: seen.append(name) or float(len(seen)))

    assert measuring.interleaved([case("a"), case("b")], 2) == {"a": (3.0, 5.0), "b": (4.0, 6.0)}
    assert seen == ["a", "b"] * 3


def test_rows_survive_json_and_fill_the_table(tmp_path, capsys):
    measuring, run = importlib.import_module("measuring"), importlib.import_module("run")
    row = measuring.Row("loader", "pictures/s", (1234.0, 1300.0), "peer", (100.0, 100.0), least=8)
    measuring.report("A table", [row], tmp_path / "figures.json")
    record = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [measuring.row_of(entry) for entry in record["rows"]] == [row]
    assert record["machine"]["torch"]
    assert "1,267 pictures/s" in capsys.readouterr().out
    text = run.summary({"loader": record})
    assert "| loader | 1,267 pictures/s | peer: 100 pictures/s | 12.7 (12.3–13.0) | ≥ 8 × ✓ |" in text
    assert "1 of 1 goals met" in text


def test_the_table_is_written_between_the_markers_and_nowhere_else(tmp_path):
    run, readme = importlib.import_module("run"), tmp_path / "README.md"
    readme.write_text(f"before\n{run.START}\nold \\1\n{run.END}\nafter\n", encoding="utf-8")
    for table in ("| new \\1 |", "| newer |"):
        run.write_table(readme, table)
        assert readme.read_text(encoding="utf-8") == f"before\n{run.START}\n{table}\n{run.END}\nafter\n"


@pytest.mark.parametrize("text", ["", "{start}", "{end} {start}", "{start} {end} {start} {end}"])
def test_a_readme_without_its_markers_is_left_alone(tmp_path, text):
    run, readme = importlib.import_module("run"), tmp_path / "README.md"
    content = text.format(start=run.START, end=run.END)
    readme.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="once"):
        run.write_table(readme, "| new |")
    assert readme.read_text(encoding="utf-8") == content
