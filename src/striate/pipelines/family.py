"""`python src/summarize.py model=all`: the networks of `conf/model` beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate.errors import ConfigurationError
from striate.evaluation import network_tables as tables
from striate.evaluation.family_figure import Point, draw_family
from striate.evaluation.network_tables import Member
from striate.evaluation.papers import ENTRIES, PAPERS
from striate.evaluation.receptive_field_figure import draw_receptive_fields
from striate.evaluation.typesetting import Sheet, replace_between, wide_console
from striate.messages import say, shown
from striate.pipelines.counting import counted, options
from striate.storage import atomic_file

MARKER = "family"
# Whose receptive fields are drawn: one of each way of getting deep.
DEPTHS = ("alexnet", "vgg16", "googlenet", "resnet34", "resnet50", "mobilenet")


def run(config: Mapping[str, Any]) -> dict[str, float]:
    """Counts all, prints, and writes where an `output_dir` or a `readme` is given.

    Returns:
        Rows of the family's table, printed figures, and those of them that differ from the exact ones.

    Raises:
        ConfigurationError: a size for all, or a file without marks.
        StorageError: a place that cannot be written.
    """
    for key in ("input", "num_classes", "data"):
        if config[key] is not None:
            raise ConfigurationError(f"{key}=… is for one network", do=f"leave {key} out, or name the network")
    family = members()
    everything = with_figures(family)
    overview, printed, scores = tables.family_sheet(family), tables.printed_sheet(everything), published(everything)
    notes = [tables.VERDICTS, tables.RULE]
    console = wide_console()
    for sheet in (overview, printed, scores):
        console.print(sheet.rich(console.width))
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if config["output_dir"] is not None:
        folder = Path(config["output_dir"])
        files = overview.write(folder, "family", notes=notes)
        files += printed.write(folder, "printed", notes=notes) + scores.write(folder, "published")
        files += [folder / "family.png", folder / "receptive_fields.png"]
        draw_family(points(family), files[-2])
        drawn = {member.name: member.counts.layers for member in family if member.name in DEPTHS}
        if drawn:
            draw_receptive_fields(drawn, files[-1])
        say("Written: " + ", ".join(shown(file) for file in files))
    if config["readme"] is not None:
        rewrite(Path(config["readme"]), overview.markdown())
    comparisons = [comparison for member in everything for comparison in member.comparisons]
    return {
        "networks": float(len(family)),
        "printed": float(len(comparisons)),
        "differing": float(sum(not comparison.agrees for comparison in comparisons)),
    }


def members() -> list[Member]:
    """Every option of `conf/model` on its paper's pictures, in the order of the papers."""
    order = list(PAPERS)
    found = [counted(node, None, None)[0] for node in options().values()]
    return sorted(
        found,
        key=lambda member: (
            order.index(member.kind) if member.kind in order else len(order),
            member.counts.mult_adds,
            member.name,
        ),
    )


def with_figures(family: Sequence[Member]) -> list[Member]:
    """Every network, variants included, of which papers print something; those of the family are not counted again."""
    known, there = options(), {id(member.entry): member for member in family}
    return [
        there.get(id(entry)) or counted({**known[entry.model], **entry.options}, entry.input, None)[0]
        for entry in ENTRIES
        if (entry.figures or entry.scores) and entry.model in known
    ]


def published(networks: Sequence[Member]) -> Sheet:
    """Every published error of these networks."""
    named = {f"{member.name}, {tables.times(member.input)}": member.entry for member in networks}
    return tables.score_sheet({name: entry for name, entry in named.items() if entry})


def points(family: Sequence[Member]) -> list[Point]:
    """The family as the picture has it."""
    found = []
    for member in family:
        scores = member.entry.scores if member.entry else ()
        errors = [score.top1 for score in scores if score.top1 is not None and score.data.startswith("ILSVRC")]
        paper = PAPERS.get(member.kind)
        kind = f"{member.kind} ({paper.year})" if paper else member.kind
        cost = member.counts
        found.append(Point(member.name, kind, cost.mult_adds, cost.parameters, errors[0] if errors else None))
    return found


def rewrite(path: Path, table: str) -> None:
    """Puts the table between the marks of a file.

    Raises:
        ConfigurationError: it has no such marks, or does not exist.
    """
    try:
        text = replace_between(path.read_text(encoding="utf-8"), MARKER, table)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"readme: {shown(path)}: {reason}", do=f"put <!-- {MARKER} --> and <!-- /{MARKER} --> where the table goes"
        ) from error
    with atomic_file(path, "w") as file:
        file.write(text)
    say(f"Written: the table of {shown(path)}")
