"""A model of the published size, in a process of its own: it opens in little more memory than its file, and runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import golden

CODE = """
import json, re, sys
from pathlib import Path
import torch
from wsa_lightning.checkpoints import load
from wsa_lightning.separation import separate
# Not ru_maxrss: on Linux it begins at the size of the process that started this one.
peak = lambda: 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
before = peak()
model = load(sys.argv[1], window=10, sinks=8)
read = sum(float(parameter.detach().sum()) for parameter in model.parameters())
loaded = peak() - before
stems = separate(model, 0.1 * torch.randn(2, 44100), 44100)
print(json.dumps({"loaded": loaded, "shape": list(stems.shape), "finite": bool(stems.isfinite().all())}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
def test_kims_layout_becomes_a_student_in_less_than_1_3_times_its_files_memory_and_separates_a_second(
    tmp_path: Path,
) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        key: golden.parameter(key, shape) if key.endswith("freqs") else 0.02 * torch.randn(shape, generator=generator)
        for key, shape in golden.recipe("keys_kim_melband")["parameters"].items()
    }
    path = tmp_path / "kim.ckpt"
    torch.save({"state": state}, path)
    del state
    done = subprocess.run([sys.executable, "-c", CODE, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["loaded"] <= 1.3 * path.stat().st_size
    assert figures["shape"] == [1, 2, 44100]
    assert figures["finite"]
    path.unlink()
