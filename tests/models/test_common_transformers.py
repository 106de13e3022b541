import unittest

import numpy as np
import pytest
import torch
from transformers_common import ARCHIVE, import_common

from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.models.feature_extraction_majl import MajlFeatureExtractor
from majl_hf.models.modeling_majl import MajlModel
from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimatorConfig
from majl_hf.models.tiny_separator_majl import TinySeparatorConfig

try:
    ModelTesterMixin = import_common("test_modeling_common").ModelTesterMixin
    ConfigTester = import_common("test_configuration_common").ConfigTester
    SequenceFeatureExtractionTestMixin = import_common(
        "test_sequence_feature_extraction_common"
    ).SequenceFeatureExtractionTestMixin
except FileNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)


class MajlModelTester:
    """Tiny configs and inputs, in the shape the common tests ask for."""

    batch_size = 3
    num_samples = 4000
    is_training = True

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> MajlConfig:
        return MajlConfig(
            separator_config=TinySeparatorConfig(n_fft=256, hop_length=64, hidden_channels=4, num_layers=1),
            pitch_estimator_config=TinyPitchEstimatorConfig(n_fft=512, hidden_channels=4, num_bins=24),
        )

    def prepare_config_and_inputs_for_common(self):
        generator = torch.Generator().manual_seed(0)
        mixture = 0.1 * torch.randn(self.batch_size, 1, self.num_samples, generator=generator)
        return self.get_config(), {"mixture": mixture}


class MajlModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MajlModel,)
    _is_composite = True
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = MajlModelTester(self)


class MajlConfigTest(unittest.TestCase):
    def setUp(self):
        self.model_tester = MajlModelTester(self)

    def test_config(self):
        ConfigTester(self, config_class=MajlConfig, has_text_modality=False).run_common_tests()
