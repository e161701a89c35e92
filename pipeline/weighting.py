"""Loss weights of packed documents.

The loss is Σ w·ce / Σ w over the targets of a global batch. A piece of n tokens has n - 1 targets, as its first token
is predicted by nothing.

    token       every target counts 1
    document    every document counts 1, however long: a target of a document with t targets counts c/t. This is the
                loss that the same documents give unpacked and padded, one a row, as the mean over rows of each row's
                mean. c is the mean of t over the split's documents, so that the mean weight is 1.

A document that is cut counts 1 with all its pieces together; the first token of each further piece is no target.
The multipliers of the modalities come on top, and move the mean.
Source: "masked sequence packing", LWM, arXiv 2402.08268, section 4.2.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

LossWeighting = Literal["token", "document"]


def document_weights(
    document: NDArray[np.int64], length: NDArray[np.int64], *, documents: int, weighting: LossWeighting
) -> NDArray[np.float64]:
    """Return the weight [documents] of a target of each document, before the modality multipliers.

    `document` [N] numbers the document of every piece from 0, `length` [N] >= 2 is the piece's tokens.
    """
    if weighting == "token":
        return np.ones(documents)
    targets = np.bincount(document, length - 1, minlength=documents)
    return targets.mean() / targets
