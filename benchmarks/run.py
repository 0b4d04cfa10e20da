"""All measurements: `results.json`, and the table in the README.

python benchmarks/run.py                          # an hour on two cores that have nothing else to do
python benchmarks/run.py --only loader,startup    # the rest is taken from the last results
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import HEADINGS, ROOT, Row, environment, row_of

SCRIPTS = ("loader", "step", "prepare", "memory", "startup", "probe", "freezing")
RESULTS = Path(__file__).with_name("results.json")
START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_table(readme: Path, text: str) -> None:
    """Replaces what stands between the two markers, and nothing else.

    Raises:
        ValueError: the file does not have each marker once, in order.
    """
    content = readme.read_text(encoding="utf-8")
    if content.count(START) != 1 or content.count(END) != 1 or content.index(START) > content.index(END):
        raise ValueError(f"expected {START} and then {END} once in {readme}")
    pattern = re.compile(f"({re.escape(START)}).*({re.escape(END)})", re.DOTALL)
    readme.write_text(pattern.sub(lambda match: f"{match[1]}\n{text}\n{match[2]}", content), encoding="utf-8")


def measure(name: str, words: Sequence[str]) -> dict:
    """The figures of one script, in a process of its own, with the machine they were taken on."""
    with TemporaryDirectory(prefix="striate-benchmark-") as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, f"benchmarks/{name}.py", *words, "--json", str(path)]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True)
        return json.loads(path.read_text(encoding="utf-8"))


def summary(results: dict) -> str:
    """What stands in the README: the table, and on what it was taken."""
    rows = [row_of(record) for name in SCRIPTS if name in results for record in results[name]["rows"]]
    machines = {", ".join(f"{key} {value}" for key, value in results[name]["machine"].items()) for name in results}
    judged = [row for row in rows if row.met is not None]
    line = f"{sum(bool(row.met) for row in judged)} of {len(judged)} goals met; medians; {'; '.join(sorted(machines))}."
    return f"{markdown(rows)}\n\n{line}"


def main() -> None:
    parser = argparse.ArgumentParser(description="All measurements, into results.json and the README.")
    parser.add_argument("--only", default=",".join(SCRIPTS), help="of %(default)s; the others' last results stay")
    parser.add_argument("--quick", action="store_true", help="does it run at all? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    chosen, words = parser.parse_known_args()
    results = json.loads(chosen.results.read_text(encoding="utf-8")) if chosen.results.is_file() else {}
    for name in chosen.only.split(","):
        results[name] = measure(name, [*words, *(["--quick"] if chosen.quick else [])])
        # At once, since the next ones may take long or fail.
        chosen.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_table(chosen.readme, summary(results))
    print(summary(results))


if __name__ == "__main__":
    main()
