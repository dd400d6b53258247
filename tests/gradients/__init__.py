"""Cases of the gradient check, one family per file."""

from gradients.contractions import CONTRACTIONS, RECURRENT
from gradients.elementwise import ELEMENTWISE
from gradients.joining import JOINING
from gradients.movement import MOVEMENT
from gradients.norms import NORMS
from gradients.patterns import PATTERNS
from gradients.pooling import PADDING, POOLING
from gradients.products import PRODUCTS
from gradients.reductions import REDUCTIONS
from gradients.resizing import RESIZING, SAMPLING, TRANSPOSED
from gradients.without import WITHOUT_GRADIENT

__all__ = ["CASES", "WITHOUT_GRADIENT"]

CASES = [
    *ELEMENTWISE,
    *JOINING,
    *REDUCTIONS,
    *NORMS,
    *PRODUCTS,
    *POOLING,
    *PADDING,
    *RESIZING,
    *TRANSPOSED,
    *SAMPLING,
    *CONTRACTIONS,
    *RECURRENT,
    *MOVEMENT,
    *PATTERNS,
]
