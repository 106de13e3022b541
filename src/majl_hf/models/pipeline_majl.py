"""`pipeline("majl-separation-pitch")`: a song in; vocals, accompaniment, pitch and notes out."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import Pipeline

from .samples_majl import check_sampling_rate, float_samples
from .streaming_majl import as_dict, separate_array

MAX_CHANNELS_FIRST = 2
INPUTS = (
    "a path, the bytes or a binary file object of an audio file, or a dict with 'array', an array of shape "
    "(num_channels, num_samples) or (num_samples,), and 'sampling_rate' in Hz"
)


class MajlPipeline(Pipeline):
    """Separates songs and reads the sung pitch.

    Input: a path, the bytes or a binary file object of an audio file, or `{"array": ..., "sampling_rate": ...}` with an
    array or tensor of shape `(num_channels, num_samples)` or `(num_samples,)`, float with full scale at 1 or integer
    (see `float_samples`); or what `datasets` returns for an audio column, such as `{"bytes": ..., "path": ...}` or a
    decoder of torchcodec; or a list of these. Files, and rates other than the model's, need the package `majl_hf`;
    arrays at the model's rate do not.

    Output: a dict (or a list of dicts) with

    - `vocals`, `accompaniment`: float32 arrays of the input's shape, at the input's rate; their sum is the input. Files
      with more than two channels are mixed down to stereo first;
    - `sampling_rate`: the input's rate in Hz;
    - `times_s`, `f0_hz`, `voicing`, `voiced`, `confidence`: arrays of shape `(num_frames,)`, see `PitchFrames`;
    - `notes`: a list of dicts, one for each sung note in order of onset, with the fields of `SungNote`.

    Call arguments: `batch_size` (windows in a forward pass, default 1), `voicing_policy`, `voicing_threshold`,
    `note_threshold` and `min_note_s` (see `NoteDecoder`), and `notes=False` to save the time that notes take.
    """

    # The engine cuts and prepares the audio itself; a checkpoint needs no feature extractor beside it.
    _load_feature_extractor = False
    _load_image_processor = False
    _load_processor = False
    _load_tokenizer = False

    def _sanitize_parameters(
        self,
        voicing_policy=None,
        voicing_threshold=None,
        notes=None,
        note_threshold=None,
        min_note_s=None,
        windows_per_batch=None,
        **kwargs,
    ):
        if kwargs:
            raise TypeError(f"The pipeline takes no argument {', '.join(sorted(kwargs))}.")
        forward = {
            "policy": voicing_policy,
            "threshold": voicing_threshold,
            "read_notes": notes,
            "note_threshold": note_threshold,
            "min_note_s": min_note_s,
            "batch_size": windows_per_batch,
        }
        return {}, {name: value for name, value in forward.items() if value is not None}, {}

    def __call__(self, inputs, batch_size=None, num_workers=None, **kwargs):
        # Songs differ in length, so the batch is made of the windows of one song and not of songs.
        kwargs["windows_per_batch"] = self._batch_size if batch_size is None else batch_size
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes | bytearray | memoryview):
            inputs = list(inputs)  # a column of `datasets` is also a sequence
            if not inputs:
                return []
        return super().__call__(inputs, batch_size=1, num_workers=0, **kwargs)

    def preprocess(self, inputs):
        inputs = as_file_or_array(inputs)
        if isinstance(inputs, Mapping):
            array, sampling_rate = _array_input(inputs)
        else:
            audio = _package_audio(f"Reading {type(inputs).__name__} input")
            array, sampling_rate = audio.read_audio(inputs, mixdown=True)
        return {"array": array, "sampling_rate": sampling_rate}

    def _forward(self, model_inputs, **forward_arguments):
        array, sampling_rate = model_inputs["array"], model_inputs["sampling_rate"]
        make_resampler = None
        if sampling_rate != self.model.config.sampling_rate:
            make_resampler = _package_audio(
                f"Resampling from {sampling_rate} Hz to the model's {self.model.config.sampling_rate} Hz"
            ).StreamResampler
        arguments = {"read_notes": True, "make_resampler": make_resampler, **forward_arguments}
        result = separate_array(self.model, np.atleast_2d(array), sampling_rate, **arguments)
        return {"result": result, "shape": array.shape, "sampling_rate": sampling_rate}

    def postprocess(self, model_outputs):
        return as_dict(model_outputs["result"], model_outputs["shape"], model_outputs["sampling_rate"])

    def save_pretrained(self, save_directory, **kwargs):
        """Save the model and the code that loads it as this pipeline; see `Pipeline.save_pretrained`."""
        # The task's default model is a folder of this installation, which would be written into the config.
        if hasattr(self, "_registered_impl"):
            self._registered_impl = {
                task: {name: value for name, value in info.items() if name != "default"}
                for task, info in type(self)._registered_impl.items()
            }
        super().save_pretrained(save_directory, **kwargs)

    def _ensure_tensor_on_device(self, inputs, device):
        return inputs  # windows are moved one by one, so that a long song need not fit on the device


def as_file_or_array(inputs):
    """What `datasets` returns for an audio column as an audio file or as a dict of array and rate; others unchanged.

    Raises:
        ValueError: samples without a sampling rate.
    """
    if hasattr(inputs, "get_all_samples"):  # a decoder of torchcodec
        inputs = inputs.get_all_samples()
    if hasattr(inputs, "sample_rate") and hasattr(inputs, "data"):  # samples of torchcodec
        return {"array": inputs.data, "sampling_rate": inputs.sample_rate}
    if isinstance(inputs, Mapping) and inputs.get("array") is None:
        file = inputs.get("path") if inputs.get("bytes") is None else inputs["bytes"]
        return inputs if file is None else file
    if isinstance(inputs, np.ndarray | torch.Tensor | float | int):
        raise ValueError(f"Samples without a sampling rate were given; needed is {INPUTS}.")
    return inputs


def _array_input(inputs: Mapping) -> tuple[np.ndarray, int]:
    """Array `(num_samples,)` or `(num_channels, num_samples)`, float32, and its rate."""
    if inputs.get("array") is None or inputs.get("sampling_rate") is None:
        raise ValueError(f"A dict with the keys {sorted(inputs)} was given; needed is {INPUTS}.")
    array = float_samples(inputs["array"])
    if array.ndim not in (1, 2):
        raise ValueError(
            f"An array of shape {array.shape} was given; (num_channels, num_samples) or (num_samples,) is needed."
        )
    if array.ndim == 2 and array.shape[0] > MAX_CHANNELS_FIRST:
        advice = "transpose it" if array.shape[1] <= MAX_CHANNELS_FIRST else "mix its channels down to two"
        raise ValueError(
            f"An array of shape {array.shape} was given; (num_channels, num_samples) with one or two channels is "
            f"needed: {advice} first."
        )
    return array, check_sampling_rate(inputs["sampling_rate"])


def _package_audio(purpose: str):
    """The audio room of the installed package, or an error that says what needs it."""
    if importlib.util.find_spec("majl_hf") is None:
        raise ImportError(
            f"{purpose} needs the package majl_hf (pip install majl_hf). Without it, pass a dict with 'array' and "
            "'sampling_rate' at the model's rate."
        )
    return importlib.import_module("majl_hf.audio")
