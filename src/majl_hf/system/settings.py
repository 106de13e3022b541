"""YAML files of settings: sections that refuse unknown keys, and `${NAME}` for environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..errors import ConfigError


class Section(BaseModel):
    """A part of a configuration; unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_config_file(path: str | Path) -> Any:
    """The content of a YAML file in which `${NAME}` stands for an environment variable.

    Raises:
        ConfigError: a variable is not set; the message names it.
        OSError: the file cannot be read.
        yaml.YAMLError: it is not YAML.
        ValueError: it is not text, or holds a `$` that stands for nothing.
    """
    import yaml  # not everybody who uses sections reads files

    try:
        text = Template(Path(path).read_text(encoding="utf-8")).substitute(os.environ)
    except KeyError as error:
        raise ConfigError(
            f"{path} refers to the environment variable {error.args[0]}, which is not set. Set it to the folder that "
            "the comment in the file describes."
        ) from None
    return yaml.safe_load(text)
