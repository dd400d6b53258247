"""Stage 4b, training: a view of the model with masks and a loss, and engines that run it."""
