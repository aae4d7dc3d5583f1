"""Analyses of teachers and of the gradients they give: the paper's figures, on the pairs and teachers of a run."""
