"""Say what a file is: `python src/describe.py FILE`."""

from striate.configuration import command


@command("describe", positional="input")
def main(cfg):
    from striate.pipelines import describe

    return describe.run(cfg)


if __name__ == "__main__":
    main()
