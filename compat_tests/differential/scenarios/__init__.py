"""Importing this package fills catalogue.SCENARIOS."""

import importlib
import pathlib

for _module in sorted(p.stem for p in pathlib.Path(__file__).parent.glob("[a-z]*.py")):
    importlib.import_module(f"{__name__}.{_module}")
