"""An evaluator on random splits that count how often they are read, whose factory counts what is trained."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from pairstill.config import EvaluateConfig, ReferencesConfig, StudentConfig, TeacherConfig
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.encoders.cache import CachedRows
from pairstill.evaluate.protocol import Evaluator, Splits
from pairstill.model.dual_encoder import ModelFactory

SIZE, TEXT_WIDTH, BATCH = 6, 7, 3
TEACHER = TeacherConfig(epochs=3, batch_size=4, lr_image=0.2, lr_text=0.3)
REFERENCES = ReferencesConfig(random_pairs=None, full_epochs=3)
STRICT = EvaluateConfig(protocol="strict", rate_scales=(1.0,), scale_learned=False, references=REFERENCES)
STUDENT = StudentConfig(epochs=4)


class CountedRows(CachedRows):
    """Rows that remember every reading."""

    def __init__(self, rows):
        super().__init__([rows])
        self.readings = 0

    def take(self, index):
        self.readings += 1
        return super().take(index)

    def all(self):
        self.readings += 1
        return super().all()


def counted(split):
    return replace(
        split, images=CountedRows(split.images.all()), text_embeddings=CountedRows(split.text_embeddings.all())
    )


@dataclass(frozen=True)
class CountedFactory(ModelFactory):
    """A factory that remembers the seed of every training, and the pairs that models see while they train."""

    seeds: list = field(default_factory=list, compare=False)
    seen: list = field(default_factory=list, compare=False)

    def initial_parameters(self, *seed):
        self.seeds.append(seed)
        return super().initial_parameters(*seed)

    def build(self):
        model = super().build()
        model.register_forward_pre_hook(lambda _, inputs: self._see(*inputs[:2]))
        return model

    def _see(self, images, texts):
        if torch.is_grad_enabled():  # students are measured without gradients
            self.seen.append((images, texts))


@pytest.fixture
def make_evaluator(make_factory, make_split):
    """Build an evaluator; validation and test hold 30 images each, so that recalls tell epochs apart."""

    def make(*, trainable=True, evaluate=STRICT, seed=0, **heads):
        factory = CountedFactory(**vars(make_factory(trainable=trainable, **heads)))
        splits = Splits(
            *(counted(make_split(images=n, seed=s, pixels=trainable)) for n, s in ((12, 1), (30, 2), (30, 3)))
        )
        tower = None if trainable else factory.encoder.tower
        return Evaluator(
            factory=factory,
            tower=tower,
            splits=splits,
            student=STUDENT,
            batch_size=BATCH,
            teacher=TEACHER,
            evaluate=evaluate,
            seed=seed,
        )

    return make


@pytest.fixture
def distilled():
    generator = torch.Generator().manual_seed(0)
    phases = tuple(
        DistilledPhase(
            images=torch.randn(pairs, 3, SIZE, SIZE, generator=generator),
            text_embeddings=torch.randn(pairs, TEXT_WIDTH, generator=generator),
            similarity_factors={"matrix": torch.eye(pairs)},
            inner_lr_image=0.3,
            inner_lr_text=0.2,
            captions=("",) * pairs,
            sources=("",) * pairs,
        )
        for pairs in (5, 4)
    )
    return DistilledSet(phases, {}, {}, {}, "wbce")
