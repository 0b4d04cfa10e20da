"""Train a network: `python src/train.py model=mobilenet trainer.devices=4`."""

from striate.configuration import command


@command("train")
def main(cfg):
    from striate.pipelines import train

    return train.run(cfg)


if __name__ == "__main__":
    main()
