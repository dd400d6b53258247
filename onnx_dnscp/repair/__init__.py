"""Repair: weights that stay make up for those that went, from a few unlabelled samples and without gradients."""
