"""Compare gradients by hand, by autograd and by finite differences: `python src/check_gradients.py model=mlp`."""

from striate.configuration import command


@command("check_gradients")
def main(cfg):
    from striate.pipelines import check_gradients

    return check_gradients.run(cfg)


if __name__ == "__main__":
    main()
