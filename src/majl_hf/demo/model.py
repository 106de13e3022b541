"""The one model that a demo loads."""

import os

from ..cli._common import Device, load_model


def load_demo_model(name: str | None = None, device: str = "auto", threads: int | None = None):
    """`MajlModel` in evaluation mode on its device: `name`, else what `MAJL_MODEL` names, else `majl-base`.

    Raises:
        MajlError: it cannot be loaded, or the device is not there.
    """
    return load_model(name or os.environ.get("MAJL_MODEL") or "majl-base", Device(device), threads, None, None)
