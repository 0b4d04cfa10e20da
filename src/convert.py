"""Convert foreign weights: `python src/convert.py model=vgg16 input=FILE output=vgg16.ckpt`."""

from striate.configuration import command


@command("convert")
def main(cfg):
    from striate.pipelines import convert

    return convert.run(cfg)


if __name__ == "__main__":
    main()
