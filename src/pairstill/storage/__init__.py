"""Atomic files: text, JSON and safetensors appear whole or not at all, and damage is found when they are read.

JSON can be sealed: a mapping carries the digest of its own content. A safetensors file carries a sealed digest of each
tensor, which is checked whenever that tensor is read, so that lazy readers check what they use and no more. Files from
before there were digests are read without the check.
"""

from pairstill.storage.files import (
    Digest,
    digest,
    digest_all,
    file_digest,
    read_text,
    temporary_folder,
    write_bytes_atomic,
    write_text_atomic,
    writing,
)
from pairstill.storage.json_files import (
    append_json_line,
    read_json,
    read_json_lines,
    read_list,
    read_object,
    read_sealed,
    write_json,
    write_json_lines,
    write_sealed,
)
from pairstill.storage.tensors import StoredTensors, load_tensors, open_tensors, save_tensors

__all__ = [
    "Digest",
    "append_json_line",
    "digest",
    "digest_all",
    "file_digest",
    "load_tensors",
    "open_tensors",
    "read_json",
    "read_json_lines",
    "read_list",
    "read_object",
    "read_sealed",
    "read_text",
    "save_tensors",
    "StoredTensors",
    "temporary_folder",
    "write_bytes_atomic",
    "write_json",
    "write_json_lines",
    "write_sealed",
    "write_text_atomic",
    "writing",
]
