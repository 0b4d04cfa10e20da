"""Where the configuration files lie, and how Hydra puts them together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from striate.configuration.checking import check
from striate.configuration.schema import SCHEMAS, schema_defaults

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = REPOSITORY / "conf"

OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)


def compose(name: str, overrides: Sequence[str] = (), *, folder: Path = FOLDER, strict: bool = True) -> DictConfig:
    """The configuration of a command, as its script would get it for these words of the command line.

    Args:
        name: the command, such as "train".
        overrides: words such as "model=mobilenet" and "trainer.devices=4".
        folder: where the configuration files lie.
        strict: whether it is checked.

    Raises:
        ConfigurationError: an entry that is not valid.
        hydra.errors.HydraException: a composition that is not possible; `command` explains those.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    outer, state.hydra = state.hydra, None  # of the command that this is called from
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            config = hydra_compose(name, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = outer
    return settled(config, SCHEMAS[name]) if strict else config


def settled(config: DictConfig, schema: type) -> DictConfig:
    """The checked configuration, with nodes that were left out as None and with absolute directories.

    Raises:
        ConfigurationError: an entry that is not valid.
    """
    check(config, schema)
    with open_dict(config):
        for key, value in schema_defaults(schema).items():
            config.setdefault(key, value)
        # Absolute at start: what runs later, or is read from a checkpoint later, may be in another directory.
        for key, value in (config.get("paths") or {}).items():
            config.paths[key] = str(Path(value).expanduser().absolute())
    return config


def offer(group: str, option: str, value: Any) -> None:
    """Adds an option to a group, for this process alone: `model=all` of a command that takes all of them.

    Args:
        group: a key at the root and a folder of options.
        option: its name.
        value: what the key is then.
    """
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=option, node={group: value}, group=group, package="_global_", provider="striate")


def keep_hydra_from_writing(folder: Path = FOLDER) -> None:
    """Makes Hydra run in the current directory without making or writing anything in it, whatever is composed.

    Run directories are made by the run itself, atomically, and only once its configuration was found to be valid.
    A sweep (`-m`) gets a directory for its ledger (`striate.sweeping`); each trial makes a run directory like any run.

    Args:
        folder: where the configuration files lie.
    """
    from hydra.conf import HydraConf, JobConf, RunDir, SweepDir
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    # For folders that have no group `hydra` of their own, such as that of a run. Hydra would take an option of the same
    # name as a file for its schema.
    has_own = (folder / "hydra" / "sweeper" / "grid.yaml").is_file()
    own = {"job_logging": "stdout", "sweeper": "grid" if has_own else "striate_grid"}
    defaults: list[Any] = [
        {key: own.get(key, option) for key, option in entry.items()} if isinstance(entry, dict) else entry
        for entry in HydraConf().defaults
    ]
    node = HydraConf(
        defaults=defaults,
        run=RunDir("."),
        sweep=SweepDir("${paths.runs_dir}/sweeps", "."),
        output_subdir=None,
        job=JobConf(chdir=False),
    )
    store = ConfigStore.instance()
    store.store(group="hydra", name="config", node=node, provider="striate")
    grid = OmegaConf.load(FOLDER / "hydra" / "sweeper" / "grid.yaml")
    store.store(group="hydra/sweeper", name="striate_grid", node=grid, provider="striate")
    # Plugins register options too.
    Plugins.instance()
    for group in ("sweeper", "launcher"):
        for file in (folder / "hydra" / group).glob("*.yaml"):
            store.repo["hydra"].get(group, {}).pop(file.name, None)
