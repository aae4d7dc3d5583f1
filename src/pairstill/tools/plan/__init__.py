"""What a run will take: a short probe of the run's own code on rows of the right shapes, multiplied by the counts.

The probe does a few teacher mini-batches, a few outer steps of each phase and a few student epochs, with made-up
features and teachers that walked at random: what is in the tensors does not change what they take. It writes into a
temporary folder only.
"""

from pairstill.tools.plan.planner import make_plan

__all__ = ["make_plan"]
