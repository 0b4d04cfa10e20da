"""Count a network, or the whole family: `python src/summarize.py model=vgg16` or `model=all`."""

from striate.configuration import command


@command("summarize")
def main(cfg):
    from striate.pipelines import summarize

    return summarize.run(cfg)


if __name__ == "__main__":
    from striate.configuration.composition import offer

    offer("model", "all", None)
    main()
