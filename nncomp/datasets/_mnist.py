"""MNIST and Fashion-MNIST from IDX files in a folder (the data sets of torchvision.datasets).

Files are searched in `root` itself and in torchvision's `root/MNIST/raw`, packed or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nncomp

from ..tensor import Tensor
from ..utils.data import Dataset
from ._idx import read_array


class MNIST(Dataset):
    """60,000 images for training, or 10,000 for testing, of 28x28 pixels in 10 classes.

    `root` holds train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-..., as they are or
    as .gz. An item is (image float32 [1, 28, 28] in 0..1, label int), each passed through
    `transform` or `target_transform` where given. `data` is uint8 [N, 28, 28], `targets` int64 [N].
    FileNotFoundError names the file that is missing; ValueError for a damaged one.
    Source: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """

    classes = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    ]  # fmt: skip

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.root, self.train = Path(root), train
        self.transform, self.target_transform = transform, target_transform
        kind = "train" if train else "t10k"
        images_at = self._find(f"{kind}-images-idx3-ubyte")
        labels_at = self._find(f"{kind}-labels-idx1-ubyte")
        images, labels = read_array(images_at), read_array(labels_at)
        _check(images_at, images, 3)
        _check(labels_at, labels, 1)
        if len(images) != len(labels):
            raise ValueError(
                f"{images_at} has {len(images)} images but {labels_at} has {len(labels)} labels; "
                "the two files do not belong together"
            )
        self.data = nncomp.tensor(images)
        self.targets = nncomp.tensor(labels.astype(np.int64))

    def _find(self, name: str) -> Path:
        """The file called `name`, or `name`.gz."""
        folders = (self.root, self.root / type(self).__name__ / "raw")
        for folder in folders:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
        raise FileNotFoundError(
            f"{type(self).__name__} found no file {name} or {name}.gz in {folders[0]} or "
            f"{folders[1]}; put it there (nothing is downloaded)"
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = self.data[index].unsqueeze(0).to(nncomp.float32) / 255
        label: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


class FashionMNIST(MNIST):
    """Zalando's images of clothing in the files, sizes and classes count of MNIST.

    Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747.
    """

    classes = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


def _check(path: Path, array: np.ndarray, rank: int) -> None:
    if array.ndim != rank or array.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {array.dtype} of shape {list(array.shape)}, expected uint8 with "
            f"{rank} dimension{'s' if rank > 1 else ''}"
        )
