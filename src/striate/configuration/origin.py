"""Where an entry of the composed configuration was written: on the command line, or in which line of which file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from striate.configuration import keys as tree
from striate.configuration.keys import dotted, path_of


@dataclass(frozen=True)
class Invocation:
    """What a configuration was composed from.

    Args:
        name: the root file, such as "train".
        folder: where the configuration files lie.
        overrides: the words of the command line.
    """

    name: str
    folder: Path
    overrides: Sequence[str] = ()

    def keys(self) -> list[str]:
        """The dotted keys that can be overridden, with the chosen options of groups where these exist."""
        for overrides in (self._choices(), []):
            try:
                config, _ = self._compose(overrides)
            except Exception:  # a broken file: then a message without a nearest key must do
                continue
            return tree.dotted_keys(OmegaConf.to_container(config))  # type: ignore[arg-type]
        return []

    def groups(self) -> list[str]:
        """The groups that the folder has: `model`, `data` …"""
        return sorted(
            entry.relative_to(self.folder).as_posix() for entry in self.folder.rglob("*/") if entry != self.folder
        )

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted(entry.stem for entry in (self.folder / group).glob("*.yaml"))

    def options_with(self, key: str) -> list[str]:
        """The choices `GROUP=OPTION` whose file has a key that the present choice lacks."""
        group, *rest = key.split(".")
        having = [
            option
            for option in self.options(group)
            if rest and line_of(self.folder / group / f"{option}.yaml", tuple(rest)) is not None
        ]
        root = yaml.safe_load((self.folder / f"{self.name}.yaml").read_text(encoding="utf-8")) or {}
        entries = [entry for entry in root.get("defaults", []) if isinstance(entry, dict)]
        chosen = next((entry[group] for entry in entries if group in entry), None)
        if isinstance(chosen, list):  # several options at once: one is added, none replaced
            return [f"{group}=[{','.join([*chosen, option])}]" for option in having]
        return [f"{group}={option}" for option in having]

    def is_group(self, word: str) -> bool:
        """Whether a key on the command line chooses an option of a group."""
        return bool(word) and (self.folder / word.lstrip("+~").partition("@")[0]).is_dir()

    def value(self, key: str) -> object:
        """The value of a key, with the chosen options of groups where these exist; None when there is none."""
        for overrides in (self._choices(), []):
            try:
                return OmegaConf.select(self._compose(overrides)[0], key)
            except Exception:
                continue
        return None

    def _choices(self) -> list[str]:
        """The words that choose options; of several that are tried one after another, the first."""
        chosen = []
        for group, _, option in (word.partition("=") for word in self.overrides):
            if self.is_group(group) and not group.startswith("~") and "(" not in option:
                chosen.append(f"{group}={option.partition(',')[0] if is_swept(option) else option}")
        return chosen

    def origin(self, path: tree.Path) -> str:
        """Where an entry comes from, as ` (conf/trainer/default.yaml, line 3)`; empty when that cannot be told."""
        key = dotted(path)
        for word in self.overrides:
            named = word.lstrip("+~").partition("=")[0]
            if not self.is_group(named) and (key == named or key.startswith((f"{named}.", f"{named}["))):
                return " (on the command line)"
        try:
            _, files = self._compose(self.overrides)
        except Exception:
            return ""
        within = [(path_of(package), file) for package, file in reversed(files)]
        within = [(prefix, file) for prefix, file in within if path[: len(prefix)] == prefix]
        empty = [file for _, file in within if yaml.safe_load(file.read_text(encoding="utf-8")) is None]
        for prefix, file in within:
            if prefix and path == prefix and file not in empty:
                return f" ({self.shown(file)})"
            if (line := line_of(file, path[len(prefix) :])) is not None:
                return f" ({self.shown(file)}, line {line})"
        return f" ({self.shown(empty[0])} is empty)" if empty else ""

    def files(self) -> list[Path]:
        """The configuration files that the composition is made of, each once."""
        return sorted({file for _, file in self._compose(self.overrides)[1]})

    def shown(self, file: str | Path) -> str:
        """A configuration file by its path from the repository."""
        try:
            return Path(file).resolve().relative_to(self.folder.resolve().parent).as_posix()
        except ValueError:
            return str(file)

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, list[tuple[str, Path]]]:
        """The composition with these overrides, and its files, each with the package that it is merged into."""
        from hydra import compose, initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        with initialize_config_dir(str(self.folder.resolve()), version_base="1.3"):
            config = compose(self.name, overrides=list(overrides))
            loader = GlobalHydra.instance().config_loader()
            defaults = loader.compute_defaults_list(self.name, list(overrides), RunMode.RUN).defaults
        found = [(entry.package or "", self.folder / f"{entry.config_path}.yaml") for entry in defaults]
        return config, [(package, file) for package, file in found if file.is_file()]


def is_swept(value: str) -> bool:
    """Whether a value of the command line stands for several that `-m` tries one after another."""
    return "(" in value or ("," in value and not value.startswith(("[", "{", "'", '"')))


def line_of(file: Path, path: tree.Path) -> int | None:
    """The line, from 1, in which a YAML file has an entry; None when it has none."""
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            entries = [(key, value) for key, value in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entries = [(node.value[part], node.value[part])]
        else:
            return None
        if not entries:
            return None
        line = entries[0][0].start_mark.line + 1
        node = entries[0][1]
    return line
