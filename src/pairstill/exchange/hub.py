"""Exports on the Hugging Face hub: pushed as dataset repositories, and read from there."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pairstill.core.errors import SHOWN_CHARACTERS, ArtifactError, ConfigError
from pairstill.encoders.hub import without_waiting

_NAMED = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")  # a Path makes one slash of two
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def is_on_hub(path: str | Path) -> bool:
    """Return whether a path is `hf://OWNER/NAME`.

    Example:
        >>> is_on_hub("hf://someone/pairs"), is_on_hub(Path("hf://someone/pairs")), is_on_hub("hf/pairs")
        (True, True, False)
    """
    return str(path).startswith("hf:/")


def check_repository(name: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        ConfigError: it is so.
    """
    if not _REPOSITORY.fullmatch(name):
        raise ConfigError(f"{name!r} is no repository of the hub; write OWNER/NAME")


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload an exported folder as a dataset repository, made if it is not there, and return its address.

    Args:
        folder: the export.
        name: OWNER/NAME.
        public: whether a new repository is seen by everybody; one that is there stays as it is.

    Raises:
        ArtifactError: the hub does not take it; the folder stays.
        ConfigError: the name is no OWNER/NAME.
    """
    from huggingface_hub import HfApi

    check_repository(name)
    hub = HfApi()
    try:
        address = hub.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, repo_type="dataset", commit_message="Pairs of pairstill")
    except Exception as error:  # of the hub's library, and of the one that it asks with
        raise ArtifactError(
            f"the hub does not take {folder} as {name} ({_line(error)}); the folder is whole: log in with "
            "`hf auth login`, look at your rights there, and give the same command again, or upload it with "
            f"`hf upload {name} {folder} . --repo-type dataset{'' if public else ' --private'}`"
        ) from error
    return str(address)


@contextmanager
def fetched(path: str | Path) -> Iterator[Path]:
    """Give the files of `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION` in a folder, kept in the hub's cache.

    Raises:
        ArtifactError: it cannot be had.
        ConfigError: the path is of another form.
    """
    from huggingface_hub import snapshot_download

    named = _NAMED.fullmatch(str(path))
    if named is None:
        raise ConfigError(f"{str(path)!r} names nothing on the hub; write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    name, revision = named.groups()
    try:
        with without_waiting():
            cached = snapshot_download(name, repo_type="dataset", revision=revision)
    except Exception as error:  # of the hub's library, and of the one that it asks with
        raise ArtifactError(
            f"{name} cannot be had from the hub ({_line(error)}); look at the name, the network, and "
            "whether you may read it"
        ) from error
    with TemporaryDirectory() as folder:  # the cache is made of links, which lead out of their folder
        yield Path(shutil.copytree(cached, Path(folder) / "export"))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:SHOWN_CHARACTERS]}"
