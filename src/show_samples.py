"""See what an augmentation does: `python src/show_samples.py data=digits augmentation=lenet`."""

from striate.configuration import command


@command("show_samples")
def main(cfg):
    from striate.pipelines import show_samples

    return show_samples.run(cfg)


if __name__ == "__main__":
    main()
