"""Pack scikit-learn's digits 0 to 4 for the playground.

`python -m ncourse.figures.playground.pack_digits` writes `digits.txt` beside this file: 174 images
of each digit, 8 x 8 pixels of nine shades, pixel by pixel (the first pixels of all images, then
all second ones: that compresses best), zlib, base64.

Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository 1998 (CC BY 4.0), the test set as scikit-learn brings it.
"""

import base64
import zlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DIGITS = 5
PER_DIGIT = 174  # as many as every digit has
FILE = Path(__file__).with_name("digits.txt")


def packed() -> str:
    """The text of `digits.txt`, without the end of the line."""
    images, labels = load_digits(return_X_y=True)
    chosen = np.concatenate([images[labels == digit][:PER_DIGIT] for digit in range(DIGITS)])
    shades = np.rint(chosen / 2).astype(np.uint8)  # 0 to 16 become 0 to 8
    return base64.b64encode(zlib.compress(shades.T.tobytes(), 9)).decode()


if __name__ == "__main__":
    FILE.write_text(packed() + "\n", encoding="ascii")
