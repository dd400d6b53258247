"""What a user can ask of training, checked once."""

from __future__ import annotations

from typing import Literal

LossName = Literal["auto", "cross-entropy", "bce", "distill", "mse", "l1"]
BatchNormChoice = Literal["auto", "train", "frozen"]
EngineName = Literal["ort"]
