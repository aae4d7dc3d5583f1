"""The processes of one run, as torchrun starts them: who writes, who takes which share, and what they agree on.

A process is a rank. All ranks hold the same state and make the same random draws; each computes its share, and what
the shares amount to is averaged. The main rank alone decides what is in the run's folder, and tells the others.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pairstill.core.errors import ConfigError, NumericalError, RankError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run; `World()` is a process alone, for which everything here is free.

    Attributes:
        rank: this process, from 0; 0 is the main one.
        size: processes of the run, over all machines.
        local_rank: this process among those of its machine, from 0; it computes on the GPU of this number.
        local_size: processes on this machine.
        grouped: form a group even if this process is alone in it, and go through it for everything, as several would.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    grouped: bool = False

    @staticmethod
    def from_environment() -> "World":
        """Return what torchrun says of this process, or a process alone if there is no torchrun.

        Raises:
            ConfigError: WORLD_SIZE announces several processes, but other variables that torchrun sets are missing.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return World()
        needed = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in needed if name not in os.environ]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {', '.join(missing)} is not set; start several "
                "processes with torchrun, or unset WORLD_SIZE for one"
            )
        try:
            rank, size, local_rank, local_size = (int(os.environ[name]) for name in needed[:4])
        except ValueError as error:
            raise ConfigError(f"RANK, WORLD_SIZE and their local kin must be whole numbers ({error})") from error
        return World(rank, size, local_rank, local_size)

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes, shows and measures."""
        return self.rank == 0

    @property
    def _alone(self) -> bool:
        """Whether there is no group, so that nothing has to be agreed on."""
        return self.size == 1 and not self.grouped

    def join(self, device: "torch.device", timeout_minutes: float) -> None:
        """Meet the other ranks.

        Args:
            device: where this rank computes; tensors of a GPU are averaged by NCCL, all else goes through gloo.
            timeout_minutes: the longest wait for another rank.

        Raises:
            RankError: they did not meet.
        """
        if self._alone:
            return
        import torch
        from torch import distributed

        backend = "gloo"
        if device.type == "cuda":
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(device)
            # a lost rank shall be an error that names it, not an abort of the whole process from another thread
            os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
        with _lost_rank_is_an_error():
            distributed.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))

    def leave(self) -> None:
        """Part from the other ranks, when all have come to this point; nothing more can be agreed on."""
        if self._alone:
            return
        from torch import distributed

        if distributed.is_initialized():
            self.barrier()
            distributed.destroy_process_group()

    def shard(self, work: Sequence[T]) -> Sequence[T]:
        """Return the part of `work` that is this rank's: every `size`-th piece.

        Example:
            >>> World(rank=1, size=3).shard("abcdefg")
            'be'
        """
        return work[self.rank :: self.size]

    def mean(self, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return the mean over the ranks of tensors by name, the same bits on every rank.

        Args:
            tensors: of one device and dtype; names and shapes are the same on every rank.

        Raises:
            RankError: another rank stopped.
        """
        if self._alone:
            return dict(tensors)
        import torch
        from torch import distributed

        # one message: latency counts, not bytes
        buffer = torch.cat([value.detach().reshape(-1) for value in tensors.values()])
        with _lost_rank_is_an_error():
            distributed.all_reduce(buffer)
        parts = (buffer / self.size).split([value.numel() for value in tensors.values()])
        return {name: part.view(value.shape) for (name, value), part in zip(tensors.items(), parts, strict=True)}

    def from_main(self, compute: Callable[[], T]) -> T:
        """Return, on every rank, what `compute` gives on the main one; it runs there alone.

        Raises:
            RankError: another rank stopped.
        """
        if self._alone:
            return compute()
        from torch import distributed

        told = [compute() if self.is_main else None]
        with _lost_rank_is_an_error():
            distributed.broadcast_object_list(told, src=0)
        return told[0]  # pyright: ignore[reportReturnType] - every rank holds the main one's by now

    def main_first(self, compute: Callable[[], T]) -> T:
        """Run `compute` on the main rank, then on the others, which find what it left on the disk.

        Raises:
            RankError: another rank stopped.
        """
        if not self.is_main:
            self.barrier()
        value = compute()
        if self.is_main:
            self.barrier()
        return value

    def gather(self, value: T) -> list[T]:
        """Return, on the main rank, the values of all ranks in order; on the others, nothing.

        Raises:
            RankError: another rank stopped.
        """
        if self._alone:
            return [value]
        from torch import distributed

        gathered: list[Any] = [None] * self.size if self.is_main else []
        with _lost_rank_is_an_error():
            distributed.gather_object(value, gathered if self.is_main else None)
        return gathered

    def agree(self, wrong: NumericalError | None) -> None:
        """Raise on every rank if a value of any is not finite; otherwise a rank would wait for one that gave up.

        Args:
            wrong: what this rank found, or None.

        Raises:
            NumericalError: `wrong`, or on other ranks that one of them found something.
            RankError: another rank stopped.
        """
        if not self._alone:
            import torch
            from torch import distributed

            found = torch.tensor([float(wrong is not None)])
            with _lost_rank_is_an_error():
                distributed.all_reduce(found)
            if wrong is None and found.item() > 0:
                raise NumericalError("a value on another rank is not finite; see its own message")
        if wrong is not None:
            raise wrong

    def barrier(self) -> None:
        """Wait until every rank is here.

        Raises:
            RankError: another rank stopped.
        """
        if self._alone:
            return
        import torch
        from torch import distributed

        with _lost_rank_is_an_error():
            # on the CPU: NCCL would start a kernel, and not wait for it
            distributed.all_reduce(torch.zeros(1))


@contextmanager
def _lost_rank_is_an_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # all errors of torch.distributed are
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise RankError(
            "another rank stopped, or did not answer within ranks_timeout_minutes; see its own message. "
            f"The same command goes on from the last checkpoint (torch.distributed: {reason})"
        ) from error
