from collections.abc import Callable
from subprocess import Popen

HEAVY = ("torch", "tensorboard", "google.protobuf", "transformers", "datasets")


def test_the_store_needs_no_heavy_library(python: Callable[..., "Popen[str]"]) -> None:
    code = f"""
import importlib, pkgutil, sys, toolkit.store
for module in pkgutil.iter_modules(toolkit.store.__path__):
    importlib.import_module(f"toolkit.store.{{module.name}}")
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python("-c", code).communicate()[0] == "[]\n"


def test_listing_runs_needs_no_numpy(python: Callable[..., "Popen[str]"]) -> None:
    code = """
import sys
from toolkit.store import checkpoints, events, lease, lineage, requests, runs, status, text, tfevents
print("numpy" in sys.modules)
"""
    assert python("-c", code).communicate()[0] == "False\n"
