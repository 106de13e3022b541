"""Packages of others: whether one is installed, its version and licence, and running it in silence."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, metadata

from ..errors import EvaluationError


def require(module: str, distribution: str | None = None) -> None:
    """Raise `EvaluationError` with the command to run if `module` is not installed."""
    if importlib.util.find_spec(module) is None:
        name = distribution or module
        raise EvaluationError(
            f"This system needs the package {name}, which is not installed. Run `pip install --no-deps {name}` "
            f"(without its dependencies it cannot replace torch), or leave the system out."
        )


def describe(role: str, distribution: str, detail: str = "") -> dict[str, str]:
    """Provenance of a part: `{ROLE: "NAME VERSION, DETAIL", ROLE_licence: ...}` of an installed distribution."""
    found = metadata(distribution)
    name = f"{distribution} {found['Version']}"
    return {role: f"{name}, {detail}" if detail else name, f"{role}_licence": _licence(found)}


def _licence(found: PackageMetadata) -> str:
    """What the distribution says of its licence, in a few words."""
    classifiers = [name.rpartition(" :: ")[2] for name in found.get_all("Classifier", []) if name.startswith("License")]
    stated = [found["License-Expression"], *(found["License"] or "").splitlines()[:1], *classifiers]
    return next((name.removesuffix(" License") for name in stated if name), "not stated")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the packages' prints, progress bars and deprecation warnings."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
