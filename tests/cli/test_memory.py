"""A two-hour file costs no more memory than a ten-minute one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

MAX_RATIO = 1.1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_two_hours_take_the_memory_of_ten_minutes(tmp_path, tiny_model_folder):
    peaks_kb = {}
    minute = np.random.default_rng(0).uniform(-0.3, 0.3, 60 * 16000)
    for minutes in (10, 120):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        # ru_maxrss would also count what the parent held when it forked.
        code = (
            "import sys\n"
            "from majl_hf.cli import app\n"
            "app(standalone_mode=False)\n"
            "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
            "print(peak.split()[1])\n"
        )
        arguments = ["separate", str(path), "-o", str(tmp_path), "--model", tiny_model_folder, "--json"]
        result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        peaks_kb[minutes] = int(result.stdout.splitlines()[-1])
        for name in ("vocals", "accompaniment"):
            output = tmp_path / f"{minutes}.{name}.wav"
            assert soundfile.info(output).frames == minutes * 60 * 16000
            output.unlink()
    assert peaks_kb[120] < MAX_RATIO * peaks_kb[10], peaks_kb
