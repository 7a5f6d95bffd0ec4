"""What `tk submit` writes for others to carry out: it says what they read, and runs what was asked."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from toolkit.cli.batch import Order, sbatch_script, skypilot_file
from toolkit.store.runs import RunFolder

OVERRIDE = "train.duration=500 steps"


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(
        runs=(RunFolder(tmp_path / "runs", "my_run"),),
        stage=None,
        spec=tmp_path / "my_spec.toml",
        overrides=(OVERRIDE,),
        nodes=1,
        gpus=8,
        nproc=8,
        cores=None,
        partition=None,
        time=None,
        ahead=120,
        options=(),
        max_restarts=3,
    )


def run_with_tk(script: str, home: Path) -> list[str]:
    """The arguments that a script gives to `tk`."""
    tk = home / "bin" / "tk"
    tk.parent.mkdir()
    tk.write_text('#!/bin/sh\nprintf "%s\\n" "$TK_RUNS" "$@"\n')
    tk.chmod(0o755)
    (home / "sky_workdir").mkdir()
    environment = {"HOME": str(home), "PATH": f"{tk.parent}{os.pathsep}{os.environ['PATH']}"}
    environment["SKYPILOT_NODE_IPS"] = "10.0.0.1\n10.0.0.2"
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_file_for_skypilot(order: Order, nodes: int, tmp_path: Path) -> None:
    # The words and their places are SkyPilot's own: 0.14.1 reads these files by its schema and as a task.
    asked = yaml.safe_load(skypilot_file(replace(order, nodes=nodes)))
    assert asked["name"] == "my-run"
    assert asked["num_nodes"] == nodes
    assert asked["resources"] == {"accelerators": "H100:8", "use_spot": True}
    mounts = asked["file_mounts"]
    assert mounts.pop("~/sky_workdir/my_spec.toml") == str(order.spec)
    bucket = {"/runs": {"name": "tk-runs-CHANGE-ME", "mode": "MOUNT_CACHED"}}
    assert (mounts, asked.get("volumes")) == (
        (bucket, None) if nodes == 1 else ({}, {"/runs": "tk-runs-CHANGE-ME"})
    )
    told = run_with_tk(asked["run"], tmp_path)
    expected = [
        "/runs",
        "run",
        "my_spec.toml",
        OVERRIDE,
        "--as",
        "my_run",
        "--nproc",
        "8",
        "--max-restarts",
        "3",
    ]
    assert told == expected + (["--nodes", "2", "--rendezvous", "10.0.0.1:29400"] if nodes == 2 else [])


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_script_for_slurm_is_a_script(order: Order, nodes: int) -> None:
    script = sbatch_script(replace(order, nodes=nodes, options=("--account=ours",)))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert f"#SBATCH --nodes={nodes}\n" in script
    assert "#SBATCH --account=ours\n" in script
    assert f"'{OVERRIDE}'" in script
