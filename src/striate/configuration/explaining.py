"""What Hydra, OmegaConf and YAML say about a mistake, as one message of ours."""

import re

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

from striate.configuration.keys import listed, nearest_key, path_of
from striate.configuration.origin import Invocation, line_of
from striate.configuration.words import mistake_in, one_line, syntax_error, unknown_key
from striate.errors import ConfigurationError, StriateError, nearest


def explain(error: Exception, invocation: Invocation) -> ConfigurationError | None:
    """The person's mistake behind an exception of the composition, or None when it is a fault of the program."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException

    if isinstance(error, StriateError):
        return None
    if isinstance(error, yaml.YAMLError):
        return _yaml(error, invocation)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, UnicodeDecodeError) or isinstance(cause, GrammarParseError):
        return _broken_file(invocation)
    if isinstance(error, OverrideParseException):
        return syntax_error(error.override, invocation)
    if isinstance(error, MissingConfigException):
        return _option(error, invocation)
    if isinstance(error, HydraException | OmegaConfBaseException | ValueError | OSError):
        for word in invocation.overrides:
            if (mistake := mistake_in(word, invocation)) is not None:
                return mistake
        if (twice := re.match(r"Multiple values for ([\w/@.]+)\.", str(error))) is not None:
            return ConfigurationError(f"an option of {twice.group(1)} is chosen twice", do="leave the plus out")
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and not str(cause.full_key).startswith("hydra"):
            return unknown_key(str(cause.full_key), "VALUE", invocation.keys(), invocation)
        if isinstance(cause, OmegaConfBaseException):
            return _interpolation(cause, invocation)
        return ConfigurationError(one_line(str(error)), do="--help shows the groups and keys")
    return None


def _yaml(error: yaml.YAMLError, invocation: Invocation) -> ConfigurationError:
    mark = getattr(error, "problem_mark", None)
    problem = one_line(str(getattr(error, "problem", None) or error))
    if mark is None:
        return ConfigurationError(f"a configuration file is not valid YAML: {problem}")
    where = f"{invocation.shown(mark.name)}, line {mark.line + 1}"
    if "\\t" in problem:
        return ConfigurationError(f"{where}: a tab where YAML wants spaces", do="indent with spaces")
    if "duplicate key" in problem:
        return ConfigurationError(f"{where}: {problem}", do="remove one of the two lines")
    return ConfigurationError(f"{where}: not valid YAML: {problem}", do="correct that line")


def _broken_file(invocation: Invocation) -> ConfigurationError | None:
    """The first file that cannot be read, where the exception does not name it."""
    for file in sorted(invocation.folder.rglob("*.yaml")):
        name = invocation.shown(file)
        try:
            OmegaConf.load(file)
        except UnicodeDecodeError as error:
            number = file.read_bytes()[: error.start].count(b"\n") + 1
            return ConfigurationError(f"{name}, line {number}: not UTF-8", do="save the file as UTF-8")
        except GrammarParseError as error:
            line = line_of(file, path_of(error.full_key or ""))
            return ConfigurationError(
                f"{name}, line {line}: {one_line(str(error.msg).split(' full_key')[0])}",
                do="close the brackets of ${...}",
            )
    return None


def _option(error: Exception, invocation: Invocation) -> ConfigurationError:
    """An option of a group, or a root file, that does not exist."""
    missing = str(getattr(error, "missing_cfg_file", None) or "")
    group, _, option = missing.rpartition("/")
    if not group:
        roots = invocation.options("")
        return ConfigurationError(
            f"{invocation.shown(invocation.folder)} has no file {missing or invocation.name}.yaml",
            nearest=nearest(missing or invocation.name, roots),
            do=f"choose among {listed(roots)}" if roots else "name an existing folder",
        )
    where = _where_chosen(group, option, str(error), invocation)
    options = invocation.options(group)
    if not options:
        groups = invocation.groups()
        return ConfigurationError(
            f"there is no group {group}{where}", nearest=nearest(group, groups), do=f"groups are {listed(groups)}"
        )
    return ConfigurationError(
        f"{group} has no option {option or repr(option)}{where}",
        nearest=f"{group}={found}" if (found := nearest(option, options)) else None,
        do=f"choose among {listed(options)}",
    )


def _where_chosen(group: str, option: str, message: str, invocation: Invocation) -> str:
    chosen = re.compile(rf"\+*{re.escape(group)}(@.*)?=(.*,)?{re.escape(option)}(,.*)?")
    if any(chosen.fullmatch(word) for word in invocation.overrides):
        return " (on the command line)"
    parent = re.match(r"In '([^']+)'", message)
    file = invocation.folder / f"{parent.group(1)}.yaml" if parent else None
    if file is None or not file.is_file():
        return ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if re.search(rf"\b{re.escape(group.rpartition('/')[2])}\b.*:\s*['\"]?{re.escape(option)}\b", line):
            return f" ({invocation.shown(file)}, line {number})"
    return f" ({invocation.shown(file)})"


def _interpolation(error: OmegaConfBaseException, invocation: Invocation) -> ConfigurationError:
    path = path_of(error.full_key or "")
    where = f"{error.full_key or 'the configuration'}{invocation.origin(path) if path else ''}"
    message = one_line((error.msg or str(error)).split("\n")[0])
    if isinstance(error, InterpolationToMissingValueError):
        return ConfigurationError(f"{where} refers to a value that is missing: {message}", do="give that value")
    if isinstance(error, InterpolationKeyError):
        wanted = re.search(r"'([^']+)'", message)
        keys = invocation.keys()
        proposal = nearest_key(wanted.group(1).lstrip("."), keys) if wanted else None
        return ConfigurationError(
            f"{where} refers to {wanted.group(1) if wanted else message}, which does not exist",
            nearest=f"${{{proposal}}}" if proposal else None,
            do="correct the interpolation",
        )
    if "Recursive" in message or "RecursionError" in message:
        return ConfigurationError(f"{where} refers to itself in a circle", do="break the circle of interpolations")
    return ConfigurationError(f"{where}: {message}", do="correct that value")
