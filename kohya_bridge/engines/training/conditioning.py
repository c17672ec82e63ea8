"""What the text encoders say of a batch of captions, grouped so that a forward pass never holds captions of two lengths.

In: conditions of single captions. Out: a `Conditioning`, and the model's answers under it. A caption that is padded to its
neighbour's length is another caption for most models (answers differ by 0.2 to 20 %, with an attention mask too), so captions
of each length have a forward pass of their own. Where all have one length, as CLIP's chunks have, there is one pass.

Shapes: B batch, C latent channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .model import Condition, TrainableModel


@dataclass(frozen=True)
class Group:
    """Captions of one shape: where in the batch they stand, and what is said of them, with a leading number of captions."""

    rows: tuple[int, ...]
    condition: Condition

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Group:
        return Group(self.rows, {name: change(tensor) for name, tensor in self.condition.items()})


@dataclass(frozen=True)
class Conditioning:
    """What the text encoders say of B captions."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, captions: Sequence[Condition]) -> Conditioning:
        """Of single captions, in the order of the batch."""
        rows_by_shape: dict[object, list[int]] = {}
        for row, condition in enumerate(captions):
            shape = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(condition.items()))
            rows_by_shape.setdefault(shape, []).append(row)
        return cls(
            tuple(
                Group(
                    tuple(rows),
                    {name: torch.stack([captions[row][name] for row in rows]) for name in captions[rows[0]]},
                )
                for rows in rows_by_shape.values()
            )
        )

    @classmethod
    def whole(cls, condition: Condition) -> Conditioning:
        """Of captions that have one shape already."""
        count = len(next(iter(condition.values())))
        return cls((Group(tuple(range(count)), condition),))

    def __len__(self) -> int:
        return sum(len(group.rows) for group in self.groups)

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        """The same with `change` done to every tensor: to another device, into pinned memory."""
        return Conditioning(tuple(group.mapped(change) for group in self.groups))

    def last(self, count: int) -> Conditioning:
        """The conditioning of the last `count` captions."""
        first = len(self) - count
        groups = []
        for group in self.groups:
            kept = sum(row >= first for row in group.rows)  # rows are in order within a group
            if kept:
                tail = {name: tensor[-kept:] for name, tensor in group.condition.items()}
                groups.append(Group(tuple(row - first for row in group.rows[-kept:]), tail))
        return Conditioning(tuple(groups))

    def repeated(self, count: int) -> Conditioning:
        """The conditioning of one caption for `count` items."""
        (group,) = self.groups
        condition = {
            name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in group.condition.items()
        }
        return Conditioning.whole(condition)

    def beside(self, other: Conditioning) -> Conditioning:
        """The captions of this one, then those of the other."""
        first = len(self)
        moved = tuple(
            Group(tuple(row + first for row in group.rows), group.condition) for group in other.groups
        )
        return Conditioning((*self.groups, *moved)).joined()

    def joined(self) -> Conditioning:
        """The same with groups of one shape made one."""
        singles: list[Condition] = [{}] * len(self)
        for group in self.groups:
            for place, row in enumerate(group.rows):
                singles[row] = {name: tensor[place] for name, tensor in group.condition.items()}
        return Conditioning.of(singles)


def answers(
    model: TrainableModel,
    noisy_BCHW: torch.Tensor,
    times_B: torch.Tensor,
    conditioning: Conditioning,
    sizes_B6: torch.Tensor,
) -> torch.Tensor:
    """What the model says under this conditioning, (B, C, H, W): one forward pass for each length of captions."""
    if len(conditioning.groups) == 1:
        return model.predict(noisy_BCHW, times_B, conditioning.groups[0].condition, sizes_B6)
    said: list[torch.Tensor] = []
    order: list[int] = []
    for group in conditioning.groups:
        rows = torch.tensor(group.rows, device=noisy_BCHW.device)
        said.append(model.predict(noisy_BCHW[rows], times_B[rows], group.condition, sizes_B6[rows]))
        order += group.rows
    back = torch.tensor([order.index(row) for row in range(len(order))], device=noisy_BCHW.device)
    return torch.cat(said)[back]
