"""The models. Their files travel to the Hub with a checkpoint: they import torch, numpy, transformers, each other. The
streaming engine imports numpy only, so that exported models run without torch."""
