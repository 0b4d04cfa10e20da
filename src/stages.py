"""Bring the dependencies in dvc.yaml up to date: `python src/stages.py` (after editing a stage's command or conf/)."""

import sys

if __name__ == "__main__":
    from striate.pipelines import stages

    sys.exit(stages.run(check="--check" in sys.argv[1:]))
