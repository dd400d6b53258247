"""Engines, one per file: each turns a training view into losses and gradients."""
