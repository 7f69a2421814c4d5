"""The documentation's example for several processes runs under torchrun, and its processes agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_for_several_processes_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own-loop.md").read_text(encoding="utf-8")
    section = page.partition("## Several processes\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (tmp_path / "several.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "several.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = dict(re.findall(r"process (\d): (.*?)(?=process \d: |\n|$)", done.stdout))  # the two write at the same time
    assert sorted(lines) == ["0", "1"], done.stdout
    assert lines["0"] == lines["1"]
    assert lines["0"].startswith("steps 2,")
