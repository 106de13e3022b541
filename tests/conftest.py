"""What all tests share: an offline, seeded process with its own cache, and a tiny model on disk."""

import atexit
import importlib.util
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

# Read when the libraries are imported, so they are set first. The tests' models are so small that a second thread makes
# them slower, several times so if other programs are running.
_hub_cache = tempfile.mkdtemp(prefix="majl-tests-")
atexit.register(shutil.rmtree, _hub_cache, ignore_errors=True)
os.environ.update(
    HF_HOME=_hub_cache,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    GRADIO_ANALYTICS_ENABLED="False",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
)

import majl_hf  # noqa: F401, E402, I001  (before transformers, evaluate and torchaudio)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from majl_hf.models.modeling_majl import MajlModel  # noqa: E402
from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig  # noqa: E402
from majl_hf.models.tiny_separator_majl import TinySeparator, TinySeparatorConfig  # noqa: E402

# Markers of transformers' common tests; see models/transformers_common.py.
_FOREIGN_MARKERS = (
    "accelerate_tests",
    "flash_attn_test",
    "torch_compile_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
)


def pytest_configure(config):
    for marker in _FOREIGN_MARKERS:
        config.addinivalue_line("markers", f"{marker}: set by transformers' common tests")


@pytest.fixture(autouse=True)
def _start():
    """Each test starts from the same random state and with one thread, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def load_script():
    """`load_script("demo")`: scripts/demo.py as a module."""

    def load(name: str):
        path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
        specification = importlib.util.spec_from_file_location(f"{name}_script", path)
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    return load


class _Interrupted(RuntimeError):
    """Ends a training run from inside."""


@pytest.fixture(scope="session")
def interrupt():
    """`interrupt(trainer, step)`: train, and stop in the step after `step` steps, like a killed process."""

    def run(trainer, step: int) -> None:
        training_step = trainer.training_step

        def stopping(*args, **kwargs):
            if trainer.state.global_step == step:
                raise _Interrupted
            return training_step(*args, **kwargs)

        trainer.training_step = stopping
        with pytest.raises(_Interrupted):
            trainer.train()

    return run


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> str:
    """Folder with a saved `MajlModel` of the tiny parts (16 kHz mono, random weights), the same in every session."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        separator = TinySeparator(TinySeparatorConfig())
        pitch_estimator = TinyPitchEstimator(TinyPitchEstimatorConfig())
    folder = tmp_path_factory.mktemp("tiny-model")
    MajlModel.from_parts(separator, pitch_estimator).eval().save_pretrained(folder)
    return str(folder)
