"""How parts are run: evaluation mode, float32 whatever the weights are, and no deadlock behind a fork."""

import copy
import multiprocessing
import sys

import pytest
import torch
from transformers import AutoModel

from majl_hf import MajlModel
from majl_hf.models.presets_majl import preset_config, preset_names
from majl_hf.models.running_majl import check_fork, evaluating, run_part
from majl_hf.models.separator_majl import SeparatorConfig

PARTS = preset_names("separator", for_tests=True) + preset_names("pitch_estimator", for_tests=True)
TYPES = {torch.float16: 2e-2, torch.bfloat16: 0.1, torch.float64: 1e-6}  # and how far their rounding moves results


def test_every_module_gets_its_own_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.Dropout()))
    model[0].eval()
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == [True, False, True, True]


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_weights_of_any_type_are_used_in_the_precision_of_the_input(name):
    part = AutoModel.from_config(preset_config(name)).eval()
    channels = (part.config.num_channels,) if isinstance(part.config, SeparatorConfig) else ()
    inputs = 0.1 * torch.randn(1, *channels, 4_001)
    (expected,) = run_part(part, inputs).to_tuple()
    for dtype, tolerance in TYPES.items():
        rounded = copy.deepcopy(part).to(dtype)
        (found,) = run_part(rounded, inputs).to_tuple()
        assert found.dtype == torch.float32 and {weight.dtype for weight in rounded.parameters()} <= {dtype}
        assert (found - expected).norm() <= tolerance * expected.norm(), dtype
    (found,) = run_part(part, inputs.double()).to_tuple()
    assert found.dtype == torch.float64 and (found - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_model_of_any_type_returns_float32_and_its_losses(tiny_model_folder, dtype):
    mixture = 0.1 * torch.randn(2, 1, 8_000)
    f0_hz = torch.full((2, 26), 220.0)
    reference = MajlModel.from_pretrained(tiny_model_folder)
    model = MajlModel.from_pretrained(tiny_model_folder, dtype=dtype)
    assert model.dtype == dtype
    expected = reference(mixture, vocals=mixture / 2, f0_hz=f0_hz)
    inputs = dtype if dtype.itemsize < 4 else torch.float32
    found = model(mixture.to(inputs), vocals=(mixture / 2).to(inputs), f0_hz=f0_hz.to(inputs))
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert (value - expected[name]).norm() <= 0.1 * expected[name].norm(), name
    found.loss.backward()
    assert all(weight.grad.dtype == dtype and weight.grad.isfinite().all() for weight in model.parameters())


def _check(connection) -> None:
    connection.send(_message())
    torch.set_num_threads(1)
    connection.send(_message())


def _message() -> str:
    try:
        check_fork()
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
def test_a_forked_process_says_what_works(monkeypatch):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        check_fork()
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_check, args=(sender,))
        process.start()
        assert receiver.poll(30)
        assert "spawn" in (message := receiver.recv()) and "set_num_threads(1)" in message
        assert receiver.poll(30) and receiver.recv() == ""
        process.join(30)
        check_fork()  # harmless here
    finally:
        torch.set_num_threads(threads)
