"""The fusion list: what NVIDIA documents, and what is expected of a model before a build.

Rules are tried in its order. A rule that does a part of an entry says which part:
`C4.part("nested activations")`.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """An entry of the fusion list, or a part of one.

    Attributes:
        label: "F8".
        title: "Convolution and Scale".
        document: where NVIDIA documents it; empty if nowhere.
        cleans_up: whether it only clears away what is in the way of other rules.
    """

    label: str
    title: str = ""
    document: str = ""
    cleans_up: bool = False

    def part(self, title: str) -> Entry:
        """The part of the entry that has a title of its own."""
        return self._replace(title=title)

    @property
    def place(self) -> int:
        """Where it stands in the list; behind all of it, where it is no entry of it."""
        return _PLACES.get(self.label, len(FUSION_LIST))

    def __str__(self) -> str:
        return f"{self.label} ({self.title})" if self.title else self.label


BEST_PRACTICES = "Best Practices for TensorRT Performance, chapter 2.5"
FUSION_CATALOG = "TensorRT's Layer Fusion Catalog"

F1 = Entry("F1", "Convolution and ReLU", BEST_PRACTICES)
F2 = Entry("F2", "FullyConnected and ReLU", BEST_PRACTICES)
F3 = Entry("F3", "Scale and Activation", BEST_PRACTICES)
F4 = Entry("F4", "Convolution and ElementWise sum", BEST_PRACTICES)
F5 = Entry("F5", "Shuffle and Reduce", BEST_PRACTICES)
F6 = Entry("F6", "Shuffle and Shuffle", BEST_PRACTICES)
F7 = Entry("F7", "Scale", BEST_PRACTICES)
F8 = Entry("F8", "Convolution and Scale", BEST_PRACTICES)
F9 = Entry("F9", "Reduce as pooling", BEST_PRACTICES)
F10 = Entry("F10", "L1Norm", BEST_PRACTICES)
F11 = Entry("F11", "Sum of squares", BEST_PRACTICES)
F12 = Entry("F12", "L2Norm", BEST_PRACTICES)
F13 = Entry("F13", "LogSum", BEST_PRACTICES)
F14 = Entry("F14", "LogSumExp", BEST_PRACTICES)
F15 = Entry("F15", "start of an MLP", BEST_PRACTICES)
F16 = Entry("F16", "growth of an MLP", BEST_PRACTICES)
C1 = Entry("C1", "Convolution and GELU, Clip, or any pointwise activation", FUSION_CATALOG)
C2 = Entry("C2", "Convolution and ElementWise minimum or maximum", FUSION_CATALOG)
C3 = Entry("C3", "Padding and Convolution, Deconvolution or Pooling", FUSION_CATALOG)
C4 = Entry("C4", "idempotent and nested activations", FUSION_CATALOG)
C5 = Entry("C5", "GELU spelled out", FUSION_CATALOG)
C6 = Entry("C6", "Softmax then Log", FUSION_CATALOG)
C7 = Entry("C7", "chains of pointwise operators", FUSION_CATALOG)
C8 = Entry("C8", "depthwise, then pointwise convolution", FUSION_CATALOG)
C9 = Entry("C9", "normalizations spelled out", FUSION_CATALOG)
C10 = Entry("C10", "quantized layers", FUSION_CATALOG)
C11 = Entry("C11", "attention spelled out", FUSION_CATALOG)
C12 = Entry("C12", "two products in a row with no activation between", FUSION_CATALOG)
CLEANUP = Entry("Cleanup", cleans_up=True)

#: In the order in which rules are tried.
FUSION_LIST = (
    *(F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12, F13, F14, F15, F16),
    *(C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12),
    CLEANUP,
)
_PLACES = {entry.label: place for place, entry in enumerate(FUSION_LIST)}

#: What a rule of a user implements.
UNLISTED = Entry("")


def listed(label: str) -> Entry:
    """The entry with a label; one of its own for a label that is not in the list."""
    return next((entry for entry in FUSION_LIST if entry.label == label), Entry(label))
