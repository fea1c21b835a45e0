"""The handwritten digits of scikit-learn, split into training and held-back test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

#: The trained model: `train.py` writes it, `accuracy.py` reads it.
MODEL = Path(__file__).with_name("digits.onnx")

#: float32 [n, 1, 8, 8], pixels from 0 (background) to 1 (ink).
Images = NDArray[np.float32]
#: int64 [n], the digit 0 to 9 of each image.
Labels = NDArray[np.int64]


def split() -> tuple[Images, Images, Labels, Labels]:
    """Splits the 1797 digits; the same split on every call.

    Returns:
        Training images, test images, training labels, test labels. A quarter of the images is
        for the test, every digit in its share.
    """
    pixels, digits = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    labels = digits.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return train_images, test_images, train_labels, test_labels
