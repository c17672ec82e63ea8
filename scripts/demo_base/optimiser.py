"""The optimiser of the demo's base: Muon for matrices, Adam for the rest, with fp32 masters beside a bf16 model.

Muon (K. Jordan, 2024, https://kellerjordan.github.io/posts/muon/) makes each matrix's momentum orthogonal before it is applied.
It needs far fewer samples than Adam, which is what counts where a sample costs a tenth of a second.
In: a model with gradients. Out: its weights, one step on; a state that resumes. Not covered: several devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Newton-Schulz coefficients of the Muon post: they push singular values towards 1 in five rounds.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}  # of the trained model, and of Muon's products
ADAM_SHARE = 0.5  # Adam's learning rate as a share of Muon's


def orthogonal(matrix: torch.Tensor, precision: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """The fp32 matrix with its singular values pushed towards 1, computed in that number format."""
    wide = matrix.to(precision)
    tall = wide.shape[0] > wide.shape[1]
    wide = wide.T if tall else wide
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = A * wide + (B * square + C * square @ square) @ wide
    found: torch.Tensor = (wide.T if tall else wide).float()
    return found


class MasteredMuon:
    """Holds the fp32 masters of a model in any number format, its momenta, and a running mean of the weights."""

    def __init__(self, model: torch.nn.Module, *, ends: tuple[str, ...], mean_decay: float = 0.95):
        """`ends` are beginnings of names of input and output layers, which Adam trains although they are matrices."""
        self._parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.by_muon = {
            name for name, each in self._parameters.items() if each.dim() > 1 and not name.startswith(ends)
        }
        self.masters = {name: each.detach().float().clone() for name, each in self._parameters.items()}
        self.means = {name: each.clone() for name, each in self.masters.items()}
        self.first = {name: torch.zeros_like(each) for name, each in self.masters.items()}
        self.second = {
            name: torch.zeros_like(each) for name, each in self.masters.items() if name not in self.by_muon
        }
        self.steps = 0
        self.mean_decay = mean_decay

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Apply and clear the gradients. `rate` is a learning rate as Adam would have it."""
        self.steps += 1
        decay = min(self.mean_decay, self.steps / (self.steps + 10))
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            gradient, master = parameter.grad.float(), self.masters[name]
            if name in self.by_muon:
                change = self._muon(name, gradient, parameter.dtype)
                master.mul_(
                    1 - rate * 0.05
                )  # weight decay keeps the spectral norms of a scale-free step in bounds
                master.sub_(change, alpha=rate)
            else:
                master.sub_(self._adam(name, gradient), alpha=rate * ADAM_SHARE)
            parameter.copy_(master)
            parameter.grad = None
            self.means[name].lerp_(master, 1 - decay)

    def _muon(self, name: str, gradient: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
        momentum = self.first[name].lerp_(gradient, 0.05)
        ahead = gradient.lerp(momentum, 0.95).flatten(1)
        # 0.2 sqrt(longer side): as large as Adam's step, entry by entry (Moonlight, arXiv 2502.16982, section 2.2)
        change: torch.Tensor = orthogonal(ahead, precision) * (0.2 * max(ahead.shape) ** 0.5)
        return change.view_as(gradient)

    def _adam(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        first = self.first[name].lerp_(gradient, 0.1)
        second = self.second[name].lerp_(gradient.square(), 0.02)
        unbiased = (second / (1 - 0.98**self.steps)).sqrt()
        return (first / (1 - 0.9**self.steps)) / (unbiased + 1e-8)

    @contextmanager
    def mean_weights(self) -> Iterator[None]:
        """The model with the running mean of its weights, which draws better than the weights themselves."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self.means[name])
            yield
        self.show_masters()

    @torch.no_grad()
    def show_masters(self) -> None:
        """The model gets the masters' numbers, after somebody changed them."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.masters[name])

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a later process needs, under flat names."""
        parts = {"master": self.masters, "mean": self.means, "first": self.first, "second": self.second}
        found = {f"{part}/{name}": each for part, held in parts.items() for name, each in held.items()}
        return {**found, "steps": torch.tensor(self.steps)}

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        parts = {"master": self.masters, "mean": self.means, "first": self.first, "second": self.second}
        for part, held in parts.items():
            for name in held:
                held[name].copy_(state[f"{part}/{name}"])
        self.steps = int(state["steps"])
        self.show_masters()
