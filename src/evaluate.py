"""Evaluate a checkpoint: `python src/evaluate.py ckpt_path=best split=test`."""

from striate.configuration import command


@command("evaluate")
def main(cfg):
    from striate.pipelines import evaluate

    return evaluate.run(cfg)


if __name__ == "__main__":
    main()
