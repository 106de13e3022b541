"""transformers' own tests of models, configs and feature extractors, run on this package's."""

import json
import unittest

import numpy as np
import pytest
import torch
from transformers_common import import_common

from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.models.fcpe_majl import FcpeConfig
from majl_hf.models.feature_extraction_majl import MajlFeatureExtractor
from majl_hf.models.modeling_majl import MajlModel
from majl_hf.models.spleeter_majl import SpleeterConfig
from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimatorConfig
from majl_hf.models.tiny_separator_majl import TinySeparatorConfig

try:
    modeling = import_common("test_modeling_common")
    configuration = import_common("test_configuration_common")
    feature_extraction = import_common("test_sequence_feature_extraction_common")
except FileNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)


class TinyTester:
    """Configs and inputs in the form that the common tests ask for."""

    batch_size = 3
    num_samples = 4_000
    is_training = True

    def get_config(self) -> MajlConfig:
        return MajlConfig(
            separator_config=TinySeparatorConfig(n_fft=256, hop_length=64, hidden_channels=4, num_layers=1),
            pitch_estimator_config=TinyPitchEstimatorConfig(n_fft=512, hidden_channels=4, num_bins=24),
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[MajlConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        generator = torch.Generator().manual_seed(0)
        return config, {
            "mixture": 0.1 * torch.randn(self.batch_size, config.num_channels, self.num_samples, generator=generator)
        }


class BaseTester(TinyTester):
    """The architecture of majl-base, every part and addition of it, made small."""

    def get_config(self) -> MajlConfig:
        return MajlConfig(
            separator_config=SpleeterConfig(
                n_fft=256,
                hop_length=64,
                num_mask_bins=64,
                hidden_channels=[4, 8],
                residual_head=True,
                upper_band=True,
            ),
            pitch_estimator_config=FcpeConfig(
                n_fft=512, num_mels=16, hidden_size=16, num_layers=1, kernel_size=3, num_bins=24, bin_cents=100.0
            ),
        )


class MajlModelTests:
    """What differs from a language model, for which the common tests were written."""

    all_model_classes = (MajlModel,)
    has_attentions = False
    _is_composite = True
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = self.model_tester_class()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            mixture = inputs["mixture"]
            num_frames = model_class(self.model_tester.get_config()).num_pitch_frames(mixture.shape[2])
            inputs["vocals"] = 0.5 * mixture
            inputs["f0_hz"] = torch.full((mixture.shape[0], num_frames), 100.0)
        return inputs

    @unittest.skip("The model has no token embeddings.")
    def test_model_get_set_embeddings(self):
        pass

    @unittest.skip("The outputs are waveforms and pitch logits; there are no hidden states of one shape a layer.")
    def test_hidden_states_output(self):
        pass

    @unittest.skip("The outputs are waveforms and pitch logits; there are no hidden states or attentions.")
    def test_retain_grad_hidden_states_attentions(self):
        pass

    @unittest.skip("The parts are convolutional; there is no attention to choose an implementation of.")
    def test_can_set_attention_dynamically_composite_model(self):
        pass


class TinyMajlModelTest(MajlModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    model_tester_class = TinyTester


class BaseMajlModelTest(MajlModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    model_tester_class = BaseTester


@pytest.mark.parametrize("tester", [TinyTester(), BaseTester()], ids=["tiny", "base"])
def test_majl_config(tester):
    class Case(unittest.TestCase):
        model_tester = tester

    parts = json.loads(tester.get_config().to_json_string())
    configuration.ConfigTester(
        Case(),
        config_class=MajlConfig,
        has_text_modality=False,
        common_properties=["sampling_rate", "num_channels", "frame_hop_s"],
        separator_config=parts["separator_config"],
        pitch_estimator_config=parts["pitch_estimator_config"],
        window_s=7.0,
    ).run_common_tests()


@pytest.mark.parametrize("config_class", [SpleeterConfig, FcpeConfig, TinySeparatorConfig, TinyPitchEstimatorConfig])
def test_part_configs(config_class):
    configuration.ConfigTester(
        unittest.TestCase(), config_class=config_class, has_text_modality=False, common_properties=["sampling_rate"]
    ).run_common_tests()


class FeatureExtractorTester:
    """Ragged mono waveforms, from short to long."""

    batch_size = 7
    min_seq_length = 400
    max_seq_length = 2_000
    feature_size = 1
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def prepare_feat_extract_dict(self) -> dict:
        return {"feature_size": self.feature_size, "sampling_rate": 16_000, "padding_value": 0.0}

    def prepare_inputs_for_common(self, equal_length=False, numpify=False) -> list:
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        lengths = [self.max_seq_length] * self.batch_size if equal_length else lengths
        generator = np.random.default_rng(0)
        waveforms = [generator.uniform(-1, 1, length).astype(np.float32) for length in lengths]
        return waveforms if numpify else [waveform.tolist() for waveform in waveforms]


class MajlFeatureExtractorTest(feature_extraction.SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = MajlFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = FeatureExtractorTester()
