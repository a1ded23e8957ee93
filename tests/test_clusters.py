"""Rows in local clusters of Dask, Ray and Spark, and in files that Arrow reads."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = {
    "arrow": ["pyarrow"],
    "dask": ["dask", "distributed", "pyarrow"],
    "ray": ["ray", "pyarrow"],
    "spark": ["pyspark", "pyarrow"],
}


@pytest.mark.parametrize(
    "engine",
    [
        "arrow",
        *(pytest.param(e, marks=pytest.mark.slow) for e in NEEDED if e != "arrow"),
    ],
)
def test_fit_and_score_where_rows_lie(engine):
    """As ``clusters.py`` checks, in a process of its own."""
    missing = [name for name in NEEDED[engine] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    script = Path(__file__).with_name("clusters.py")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", script, engine],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "check_refusals" in result.stdout
