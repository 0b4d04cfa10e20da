"""Name what pictures show: `python src/predict.py ckpt_path=best input='photos/*.jpg' output=labels.csv`."""

from striate.configuration import command


@command("predict")
def main(cfg):
    from striate.pipelines import predict

    return predict.run(cfg)


if __name__ == "__main__":
    main()
