"""What a sweep has found: `python src/sweep_report.py NAME`."""

from striate.configuration import command


@command("sweep_report", positional="sweep")
def main(cfg):
    from striate.pipelines import sweep_report

    return sweep_report.run(cfg)


if __name__ == "__main__":
    main()
