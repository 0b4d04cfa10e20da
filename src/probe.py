"""What the stages of a network know: `python src/probe.py ckpt_path=best stages=all`."""

from striate.configuration import command


@command("probe")
def main(cfg):
    from striate.pipelines import probe

    return probe.run(cfg)


if __name__ == "__main__":
    main()
