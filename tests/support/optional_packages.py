"""Packages that may be missing: a mark for tests of the real one, and stand-ins with the same interface."""

import importlib.util
import sys
from email.message import Message
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from majl_hf.evaluation import packages


def installed(*modules: str):
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"optional packages not installed: {missing}")


def stand_in(monkeypatch, **modules: dict) -> None:
    """Let `import` find these modules, given by their attributes; `__` in a name stands for a dot. Every distribution
    has version 1.2 and the MIT licence then."""
    for name, attributes in modules.items():
        name = name.replace("__", ".")
        module = ModuleType(name)
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    facts = Message()
    facts["Version"], facts["Classifier"] = "1.2", "License :: OSI Approved :: MIT License"
    monkeypatch.setattr(packages, "metadata", lambda distribution: facts)
