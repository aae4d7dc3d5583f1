"""Images are what a small fixed generator makes of latents, and the latents are learned by matching trajectories."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerData, InnerRates
from pairstill.distill.initial import InitialPairs
from pairstill.distill.learned import Pairs, Variable
from pairstill.distill.pairs import Pixels
from pairstill.distill.recipe import Recipe, draw_initial, matching_of, seed_of
from pairstill.distilled import DistilledPhase
from pairstill.methods.base import Fixed, Method

WIDTH = 4


@dataclass(frozen=True)
class Latents:
    """Pairs of latents (pairs, width) and text embeddings; the student's rates are not learned."""

    begin: InitialPairs
    latents: Tensor
    basis: Tensor
    rates: tuple[float, float]
    kind: Pixels

    def pixels(self, latents):
        return torch.tanh(latents @ self.basis.to(latents)).view(-1, *self.begin.images.shape[1:])

    def variables(self):
        texts = self.begin.text_embeddings.to(self.latents.device)
        return {"latents": Variable(self.latents, 0.05), "texts": Variable(texts, 0.02, float(texts.std()))}

    def render(self, values, rows=None):
        latents, texts = (v if rows is None else v[rows] for v in (values["latents"], values["texts"]))
        rates = InnerRates(*(torch.tensor(rate, device=latents.device) for rate in self.rates))
        return Pairs(
            InnerData(self.kind.seen(self.pixels(latents)), texts, torch.eye(len(texts), device=texts.device)), rates
        )

    def phase(self, values):
        latents, texts = (values[name].detach().cpu() for name in ("latents", "texts"))
        return DistilledPhase(self.pixels(latents), texts, {}, *self.rates, self.begin.captions, self.begin.sources)


def recipe(given, experts):
    config, seed, initial = given.config, seed_of(given.config), draw_initial(given)

    def pairs(number, distill):
        begin, generator = initial[number - 1], make_generator(seed, "latents", number)
        basis = torch.randn(WIDTH, begin.images[0].numel(), generator=generator)
        latents = torch.randn(len(begin.captions), WIDTH, generator=generator).to(given.factory.device)
        return Latents(begin, latents, basis, config.initial_rates, Pixels(given.tower))

    return Recipe(pairs, matching_of(experts, seed, given.factory, given.world))


LATENTS = Method(
    name="latents",
    title="Latents of a generator",
    source="a test",
    makes="learns latents, text embeddings",
    needs=("teacher", "trajectories"),
    fixed=(
        Fixed("phased", value=False, why="it has one phase"),
        Fixed("loss", value="infonce", why="it learns no similarities"),
        Fixed("shortcut", value=False, why="it matches recorded trajectories"),
    ),
    recipe=recipe,
)
