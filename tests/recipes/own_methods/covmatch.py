"""Cross-covariances of real and distilled pairs are matched under a model that learns online, as in CovMatch."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from pairstill.core.rng import make_generator
from pairstill.distill.learned import Parametrisation
from pairstill.distill.objective import differentiated
from pairstill.distill.recipe import Ingredients, pixels_recipe, seed_of
from pairstill.methods.base import Fixed, Method
from pairstill.model.dual_encoder import Parameters
from pairstill.model.functional import pair_loss

RHO, WEIGHT, RATE, BATCH, RESET = 2.0, 0.1, 0.1, 12, 3


def cross_covariance(images: Tensor, texts: Tensor) -> Tensor:
    """Return that of (pairs, image width) and (pairs, text width)."""
    return (images - images.mean(0)).T @ (texts - texts.mean(0)) / len(images)


@dataclass
class CovarianceObjective:
    """The square distance of cross-covariances before the heads, and of both sides' means after them."""

    given: Ingredients
    pairs: Parametrisation
    model: Parameters = field(default_factory=dict)

    def variables(self):
        return self.pairs.variables()

    def step(self, values, number):
        given, train, seed = self.given, self.given.splits.train, seed_of(self.given.config)
        generator, structure = make_generator(seed, "covmatch", number), self.given.factory.build()
        if number % RESET == 0:
            self.model = given.factory.initial_parameters(seed, "covmatch", number)
        captions = torch.randperm(train.num_captions, generator=generator)[:BATCH]
        real = train.image_inputs(train.caption_owner[captions]), train.texts(captions)
        data = self.pairs.render(values).data
        ours = data.images, data.texts
        apart = RHO * cross_covariance(*real) - cross_covariance(*ours)
        sides = zip(
            functional_call(structure, self.model, real), functional_call(structure, self.model, ours), strict=True
        )
        losses = {
            "covariance": apart.square().sum(),
            "means": WEIGHT * sum((a.mean(0) - b.mean(0)).square().sum() for a, b in sides),
        }
        yield differentiated(losses, values)
        leaves = {name: value.requires_grad_() for name, value in self.model.items()}
        loss = pair_loss(structure, leaves, (*real, None), "infonce", None)
        moves = torch.autograd.grad(loss, list(leaves.values()))
        self.model = {n: (v - RATE * g).detach() for (n, v), g in zip(leaves.items(), moves, strict=True)}

    def state_dict(self):
        return {f"model/{name}": value for name, value in self.model.items()}

    def load_state_dict(self, state):
        device = self.given.factory.device
        self.model = {name.removeprefix("model/"): value.to(device) for name, value in state.items()}


def recipe(given, experts):
    return pixels_recipe(given, lambda stage: CovarianceObjective(given, stage.pairs))


COVMATCH = Method(
    name="covmatch",
    title="CovMatch",
    source="a test",
    makes="learns images, text embeddings",
    needs=("features",),
    fixed=(
        Fixed("phased", value=False, why="it has one phase"),
        Fixed("loss", value="infonce", why="it learns no similarities"),
        Fixed("ema", value=False, why="it keeps the last values"),
    ),
    recipe=recipe,
    student="chosen_rates",
)
