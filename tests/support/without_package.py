"""First lines of a program that make it run as if neither `majl_hf` nor torchaudio were installed."""

WITHOUT_PACKAGE = """
import importlib.abc, importlib.util, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("majl_hf", "torchaudio"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.split(".")[0] in ("majl_hf", "torchaudio") else find_spec(name, package)
)
"""
