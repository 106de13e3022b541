"""The models. These files travel to the Hub with a checkpoint, so they import torch, numpy, transformers and each other."""
