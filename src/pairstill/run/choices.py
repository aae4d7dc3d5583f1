"""Choices among the real pairs that a run makes once: what goes on later goes on with them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.storage import load_tensors, save_tensors


def chosen_once(
    path: Path, sizes: Sequence[int], captions: int, choose: Callable[[], Sequence[Tensor]]
) -> list[Tensor]:
    """Return what was chosen before, or choose now and write it down.

    Args:
        path: the file of the choice.
        sizes: pairs of each phase.
        captions: how many there are to choose of.
        choose: returns the captions' numbers of each phase, (pairs,) or (pairs, candidates).

    Raises:
        ArtifactError: what was chosen before does not go with the phases or the data.
    """
    if not path.is_file():
        save_tensors(path, {f"phase{number}": rows for number, rows in enumerate(choose(), start=1)})
    stored = load_tensors(path)
    rows = [stored[name] for name in sorted(stored, key=lambda name: int(name.removeprefix("phase")))]
    fits = all(bool(((of >= 0) & (of < captions)).all()) for of in rows)
    if [len(of) for of in rows] != list(sizes) or not fits:
        raise ArtifactError(
            f"{path} was chosen for other phases or data; choose another run_dir, or delete {path.parent} to begin anew"
        )
    return rows
