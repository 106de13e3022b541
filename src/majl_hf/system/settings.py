"""YAML files of settings: `${NAME}`, `extends`, anchors, named stages, and one format for all errors in them.

    extends: base.yaml          this file only contains what differs from base.yaml in the same folder
    _shared: &shared {a: 1}     keys that begin with an underscore only define anchors
    folder: ${MAJL_DATA}/x      an environment variable
    stages:                     see `load_stages`

If one section extends another, mappings are merged key by key; lists and values are replaced. A key that is given twice
in one mapping is refused. Numbers are written as in YAML 1.2, so 1e-3 is one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ..errors import ConfigError

S = TypeVar("S", bound="Section")
Location = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path, in which `~` is expanded, or the name of something."""


class Section(BaseModel):
    """A part of a configuration; unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        unknown = [key for key in values if key not in cls.model_fields] if isinstance(values, Mapping) else []
        if unknown:
            raise PydanticCustomError(
                "unknown_key",
                "unknown key; allowed are {allowed}",
                {"key": unknown[0], "allowed": ", ".join(cls.model_fields)},
            )
        return values


def load_settings(path: str | Path, section: type[S]) -> S:
    """A YAML file as a section.

    Raises:
        ConfigError: the file cannot be read, a variable is not set, a key is unknown or a value does not fit; the
            message names the file, the key, what was got and what is allowed.
    """
    return validated(section, read_settings(path), str(path))


def load_stages(path: str | Path, kinds: Mapping[str, type[Section]]) -> dict[str, Section]:
    """The stages of a YAML file by name, in order; all of them are checked.

    A stage's `kind` is by default the first of `kinds`. Settings outside `stages` are common to the stages of that
    first kind; with `extends: NAME` a stage extends another stage of its kind. A file without `stages` is a single
    stage, whose name is its kind.

    Raises:
        ConfigError: as for `load_settings`; no stage, an unknown kind, or an extended stage that does not exist.
    """
    common = read_settings(path)
    default = next(iter(kinds))
    if "stages" not in common:
        common, stages = {}, {str(common.get("kind", default)): common}
        wheres = [str(path)]
    else:
        stages = common.pop("stages")
        is_one = isinstance(stages, Mapping) and len(stages) > 0
        if not is_one or not all(isinstance(n, str) and isinstance(stage, Mapping) for n, stage in stages.items()):
            raise ConfigError(f"{path}: stages: got {_shown(stages)}; it maps the name of each stage to its settings.")
        wheres = [f"{path}, stage {name}" for name in stages]
    loaded = {}
    for name, where in zip(stages, wheres, strict=True):
        chain = extension_chain(name, {other: stage.get("extends") for other, stage in stages.items()}, where)
        values = {}
        for extended in reversed(chain):
            values = merged(values, stages[extended])
        values.pop("extends", None)
        kind = values.pop("kind", default)
        if not isinstance(kind, str) or kind not in kinds:
            raise ConfigError(f"{where}: kind: got {_shown(kind)}; allowed are {', '.join(kinds)}.")
        loaded[name] = validated(kinds[kind], merged(common, values) if kind == default else values, where)
    return loaded


def read_settings(path: str | Path, _followed: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a YAML file, merged with the file that it extends; see the module's docstring.

    Raises:
        ConfigError: the file cannot be read or is not YAML, a key is given twice, a variable is not set, it extends
            itself.
    """
    import yaml  # sections can be used without files

    path = Path(path)
    try:
        content = _load_yaml(Template(path.read_text(encoding="utf-8")).substitute(os.environ))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise ConfigError(
            f"{path} refers to the environment variable {error.args[0]}, which is not set. Set it to the folder that "
            "the comment in the file describes."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not a YAML file of settings: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} is not a YAML file of settings: got {_shown(content)} instead of keys with values.")
    content = {key: value for key, value in content.items() if not str(key).startswith("_")}
    if "extends" not in content:
        return content
    name = content.pop("extends")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: got {_shown(name)}; give the name of a file, or leave it out.")
    extended, followed = path.parent / name, (*_followed, path.resolve())
    if extended.resolve() in followed:
        raise ConfigError(f"{path} extends {extended}, which extends it; a file must not extend itself.")
    return merged(read_settings(extended, followed), content)


def _load_yaml(text: str) -> Any:
    """The content of a YAML file; ValueError or YAMLError where it has none."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor):
            node = super().compose_mapping_node(anchor)
            counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [name for name, count in counts.items() if count > 1]:
                line = max(key.start_mark.line for key, _ in node.value if key.value == twice[0]) + 1
                raise ValueError(f"line {line} gives the key {twice[0]!r} a second time; keep one of them.")
            return node

    # PyYAML follows YAML 1.1, in which 1e-3 is text.
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
    return yaml.load(text, Loader)


def validated(section: type[S], values: Any, where: str) -> S:
    """`values` as a section.

    Raises:
        ConfigError: invalid values; the message begins with `where` and names each key, what was got and what is
            allowed.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        errors = error.errors()
        keys = [error["loc"] for error in errors]
        # If a part is invalid, errors of the enclosing sections only repeat that.
        inmost = [e for e in errors if not any(k != e["loc"] and k[: len(e["loc"])] == e["loc"] for k in keys)]
        raise ConfigError(f"{where}: {'; '.join(map(_problem, inmost))}.") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` updated by `changes`: mappings key by key, everything else as a whole."""
    result = dict(values)
    for key, change in changes.items():
        both = isinstance(change, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], change) if both else change
    return result


def extension_chain(name: str, extends: Mapping[str, str | None], where: str) -> list[str]:
    """`name`, the section that it extends, the one that this extends, and so on; `extends` maps each to the next.

    Raises:
        ConfigError: a section that does not exist or that extends itself.
    """
    chain: list[str] = []
    following: str | None = name
    while following is not None:
        if not isinstance(following, str) or following not in extends:
            raise ConfigError(f"{where}: extends: got {following!r}; allowed are {', '.join(extends)}.")
        if following in chain:
            raise ConfigError(f"{where}: extends: {following!r} extends itself; extend one that does not.")
        chain.append(following)
        following = extends[following]
    return chain


def _problem(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors: the dotted key, what was got and what is allowed."""
    if error["type"] == "unknown_key":
        return f"{'.'.join(map(str, (*error['loc'], error['ctx']['key'])))}: {error['msg']}"
    key = ".".join(map(str, error["loc"])) or "settings"
    if error["type"] == "union_tag_invalid":
        return f"{key}.kind: got {error['ctx']['tag']!r}; allowed are {error['ctx']['expected_tags']}"
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    of_the_whole = error["type"] in ("missing", "value_error") and isinstance(error["input"], Mapping)
    return f"{key}: {message}" if of_the_whole else f"{key}: {message}, got {_shown(error['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
