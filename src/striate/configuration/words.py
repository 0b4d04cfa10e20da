"""What is wrong with the words of a command line: keys, options and values that nobody can take."""

import re
from collections.abc import Sequence

from striate.configuration.keys import closest, listed, nearest_key, path_of, siblings, similarity
from striate.configuration.origin import Invocation, is_swept
from striate.configuration.targets import locate, parameters
from striate.errors import ConfigurationError, nearest

ALMOST_CERTAIN = 0.9  # one wrong letter in a long key; below, the class is asked what it accepts


def explain_arguments(message: str, options: Sequence[str], invocation: Invocation) -> ConfigurationError:
    """What argparse says of the words of the command line, of which people write `--model=x` and `--epochs 3`.

    Args:
        message: argparse's.
        options: the options that there are.
        invocation: with all words of the command line.
    """
    _, unrecognized, words = message.partition("unrecognized arguments: ")
    if not unrecognized:
        return ConfigurationError(one_line(message), do="--help shows how to write it")
    word = words.split()[0]
    if "=" in word:
        return syntax_error(word, invocation)
    key = nearest_key(word.lstrip("-"), [*invocation.keys(), *invocation.groups()])
    option = closest(word, options)
    return ConfigurationError(
        f"there is no option {word}",
        nearest=option if option else f"{key}=VALUE" if key else None,
        do="write keys as KEY=VALUE, without dashes; --help lists them all",
    )


def mistake_in(word: str, invocation: Invocation) -> ConfigurationError | None:
    """What is wrong with one word of the command line, or None."""
    key, equals, value = word.partition("=")
    name = key.lstrip("+~").partition("@")[0]
    if name.startswith(("hydra.", "hydra/")):
        return None
    if invocation.is_group(name):
        if not equals or value.startswith("{"):
            return None
        if value == "null":
            return ConfigurationError(
                f"{name}=null chooses nothing", nearest=f"~{name}", do=f"write ~{name} to leave it out"
            )
        return _missing_option(name, value, invocation)
    keys = invocation.keys()
    if name in keys:
        if key.startswith("+") and not key.startswith("++"):
            return ConfigurationError(f"{name} is there already", do=f"leave the plus out: {name}={value}")
        if re.fullmatch(r"[^\[\](){}'\",]+(,[^\[\](){}'\",]+)+", value):
            return ConfigurationError(
                f"{word} has several values",
                do=f"write {name}=[{value}] for a list, or add -m to try one after another",
            )
        return None
    if key.startswith("+"):
        return None
    mistake = unknown_key(name, value, keys, invocation)
    if key.startswith("~"):
        mistake.do = f"write ~{mistake.nearest}" if mistake.nearest else None
    return mistake


def _missing_option(group: str, value: str, invocation: Invocation) -> ConfigurationError | None:
    options = invocation.options(group)
    for option in value.strip("[]'\"").split(","):
        if option.strip() not in options:
            return ConfigurationError(
                f"{group} has no option {option or repr(option)} (on the command line)",
                nearest=f"{group}={found}" if (found := nearest(option, options)) else None,
                do=f"choose among {listed(options)}",
            )
    return None


def explain_sweep(invocation: Invocation) -> ConfigurationError | None:
    """The unknown key or option among the words of a sweep, of which Hydra finds some only when it has begun."""
    keys = invocation.keys()
    parts = [word.partition("=") for word in invocation.overrides]
    swept = {name for name, _, value in parts if is_swept(value) and invocation.is_group(name)}
    for name, equals, value in parts:
        if not equals or "(" in value or name.startswith(("+", "~", "hydra.", "hydra/")):
            continue
        if invocation.is_group(name):
            mistake = _missing_option(name, value, invocation)
        elif name in keys or name.partition(".")[0] in swept:  # what one option lacks, the next may have
            mistake = None
        else:
            mistake = unknown_key(name, value, keys, invocation)
        if mistake is not None:
            return mistake
    return None


def unknown_key(name: str, value: str, keys: list[str], invocation: Invocation) -> ConfigurationError:
    """A key of the command line that the composed configuration lacks, which may still be one of its class.

    Args:
        name: the dotted key.
        value: what it was to become.
        keys: those that there are.
        invocation: what was composed.
    """
    proposal = nearest_key(name, [*keys, *invocation.groups()])
    near = similarity(name, proposal or "")
    certain = proposal is not None and (proposal.endswith(f".{name}") or near >= ALMOST_CERTAIN)
    accepted = [] if certain else _accepted(name.rpartition(".")[0], invocation)
    leaf = name.rpartition(".")[2]
    if leaf in accepted:
        return ConfigurationError(
            f"{name} is not set in any file (on the command line)",
            nearest=f"+{name}",
            do=f"add it with a plus: +{name}={value}",
        )
    known = similarity(leaf, proposal.rpartition(".")[2]) if proposal else 0
    if (found := closest(leaf, accepted)) and similarity(leaf, found) > known:
        proposal = f"{name.rpartition('.')[0]}.{found}"
        proposal = proposal if proposal in keys else f"+{proposal}"
    if proposal is not None:
        do = f"write {proposal}={value}"
    elif options := invocation.options_with(name):
        do = f"choose an option that has it: {' or '.join(options)}"
    else:
        do = f"valid keys are {listed(accepted or siblings(name, keys) or [key for key in keys if '.' not in key])}"
    return ConfigurationError(f"unknown key {name} (on the command line)", nearest=proposal, do=do)


def _accepted(parent: str, invocation: Invocation) -> list[str]:
    """What the class of the node `parent` accepts, if it is such a node."""
    target = invocation.value(f"{parent}._target_") if parent else None
    try:
        return list(parameters(locate(target, path_of(parent)))[0]) if target else []
    except ConfigurationError:
        return []


def syntax_error(word: str, invocation: Invocation) -> ConfigurationError:
    """A word that Hydra's grammar cannot read."""
    key, equals, value = word.partition("=")
    if not equals:
        proposal = nearest_key(key.lstrip("+~-"), [*invocation.keys(), *invocation.groups()])
        return ConfigurationError(
            f"{word!r} is not of the form KEY=VALUE",
            nearest=f"{proposal}=VALUE" if proposal else None,
            do="write KEY=VALUE without spaces",
        )
    if key.startswith("-"):
        return ConfigurationError(
            f"{word!r} begins with a dash", nearest=word.lstrip("-"), do="write KEY=VALUE without dashes"
        )
    return ConfigurationError(
        f"{word!r} cannot be read",
        do=f"quote a value with spaces, commas or brackets twice: '{key}=\"{value}\"'",
    )


def one_line(text: str) -> str:
    """A message of others without its line breaks, cut when it is long."""
    text = " ".join(text.split())
    return text if len(text) < 400 else text[:400] + " …"
