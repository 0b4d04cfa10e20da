"""Train once for each fold, say mean and interval: `python src/cross_validate.py model=lenet5_modern data.folds=5`."""

from striate.configuration import command


@command("cross_validate")
def main(cfg):
    from striate.pipelines import cross_validate

    return cross_validate.run(cfg)


if __name__ == "__main__":
    main()
