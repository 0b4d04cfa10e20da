"""Prepare a picture set: `python src/prepare.py data=folder data.root=PATH`."""

from striate.configuration import command


@command("prepare")
def main(cfg):
    from striate.pipelines import prepare

    return prepare.run(cfg)


if __name__ == "__main__":
    main()
