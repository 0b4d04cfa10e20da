"""A trial without a network: its validation curve is a formula of its words, and it leaves what a run leaves.

python toy.py rate=0.1 width=3 [diverge=RATE] [fail=RATE] [stopped=RATE] hydra.mode=RUN
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    words = dict(word.split("=", 1) for word in sys.argv[1:] if not word.startswith("hydra."))
    rate, width = float(words["rate"]), int(words.get("width", 3))
    run_dir = Path(os.environ["STRIATE_TRIAL"]).parent / f"run_{os.getpid()}"
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("monitor: {metric: val/score, mode: max}\n")
    hashes = {name: os.environ.get(f"TOY_{name.upper()}", name[0]) for name in ("data", "code", "weights")}
    facts = {"status": "running", "hashes": hashes}
    (run_dir / "run.json").write_text(json.dumps(facts))
    Path(os.environ["STRIATE_TRIAL"]).write_text(str(run_dir))
    print("toy", rate, os.environ.get("OMP_NUM_THREADS"), flush=True)
    time.sleep(float(words.get("sleep", 0)))
    trial = None
    if "STRIATE_STUDY" in os.environ:
        from striate.sweeping.study import reported_trial

        trial = reported_trial()
    rows, status, code = ["epoch,val/score"], "finished", 0
    for epoch in range(1, 5):
        score = (1 - abs(math.log10(rate) + 1) / 4) * (1 - 0.5**epoch) + 0.01 * width
        rows.append(f"{epoch},{score}")
        if trial is not None:
            trial.report(score, epoch)
            if epoch < 4 and trial.should_prune():
                status, code = "pruned", 6
                break
    if rate >= float(words.get("diverge", "inf")):
        status, code = "diverged", 4
    if rate >= float(words.get("stopped", "inf")):
        os.kill(os.getpid(), signal.SIGTERM)
    if rate >= float(words.get("fail", "inf")):
        return 1
    (run_dir / "history.csv").write_text("\n".join(rows) + "\n")
    (run_dir / "run.json").write_text(json.dumps(facts | {"status": status}))
    return code


if __name__ == "__main__":
    sys.exit(main())
