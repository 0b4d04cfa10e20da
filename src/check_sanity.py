"""Check what must hold before figures are believed: `python src/check_sanity.py experiment=digits_pretrain`."""

from striate.configuration import command


@command("check_sanity")
def main(cfg):
    from striate.pipelines import check_sanity

    return check_sanity.run(cfg)


if __name__ == "__main__":
    main()
