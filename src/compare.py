"""Compare runs honestly: `python src/compare.py RUN RUN …`."""

from striate.configuration import command


@command("compare", positional="runs", several=True)
def main(cfg):
    from striate.pipelines import compare

    return compare.run(cfg)


if __name__ == "__main__":
    main()
