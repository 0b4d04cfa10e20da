"""Answer a question by many trainings: `python src/study.py study=relu_tanh`."""

from striate.configuration import command


@command("study")
def main(cfg):
    from striate.pipelines import study

    return study.run(cfg)


if __name__ == "__main__":
    main()
