"""What can be asked of an export; imports nothing heavy."""

from typing import Literal, get_args

Layout = Literal["parquet", "webdataset", "imagefolder", "huggingface"]
"""`parquet`: float32 columns. `webdataset`: tar shards. `imagefolder`: PNG files. `huggingface`: for `load_dataset`."""

Measure = Literal["auto", "always", "never"]
"""Whether to measure what PNG costs: `auto` if the run's pairs are at hand."""

Form = Literal["pairstill", "sentence_transformers"]
"""How a student is saved: as a whole, or its text side for sentence-transformers."""

FORMS: tuple[Form, ...] = get_args(Form)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MEASURES: tuple[Measure, ...] = get_args(Measure)
WITH_PNG: tuple[Layout, ...] = ("webdataset", "imagefolder", "huggingface")
"""Formats that hold PNG images beside the exact tensors."""
SETTINGS = "settings.yaml"
"""The file of an export that `pairstill evaluate --distilled` takes settings from."""
