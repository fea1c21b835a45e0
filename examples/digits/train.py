"""Trains a small convolutional classifier of handwritten digits and writes `digits.onnx`."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path

import onnx
import torch
from data import MODEL, split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 60
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
OPSET = 17


def network() -> nn.Sequential:
    """The untrained classifier: images [n, 1, 8, 8] to logits [n, 10]."""
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 16, kernel_size=3, padding=1)),
        ("bn1", nn.BatchNorm2d(16)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("ip1", nn.Linear(16 * 4 * 4, 64)),
        ("relu2", nn.ReLU()),
        ("ip2", nn.Linear(64, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Trains a model in place and leaves it in inference mode.

    Args:
        model: maps images to logits.
        images: float32 [n, 1, 8, 8].
        labels: int64 [n].
    """
    batches = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for _ in range(EPOCHS):
        for some_images, some_labels in batches:
            optimizer.zero_grad()
            loss_of(model(some_images), some_labels).backward()
            optimizer.step()
        schedule.step()
    model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that get their label, from 0 to 1."""
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == labels).double().mean())


def export(model: nn.Module) -> onnx.ModelProto:
    """Exports a model in inference mode, layer by layer, with readable names.

    Returns:
        One node per layer, named like the layer, as is its output. The input is
        `image` [batch, 1, 8, 8], the output `logits` [batch, 10], both float32.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "exported.onnx")
        torch.onnx.export(
            model,
            (torch.zeros(2, 1, 8, 8),),
            file,
            # The newer exporter folds `bn1`, or else spells the flattening with several nodes.
            dynamo=False,
            # The defaults of these two fold `bn1` into `conv1`.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
        exported = onnx.load(file)
    rename(exported.graph)
    onnx.checker.check_model(exported, full_check=True)
    return exported


def rename(graph: onnx.GraphProto) -> None:
    """Names nodes and values after layers: `/conv1/Conv` becomes `conv1`. Drops stack traces."""
    outputs = {value.name for value in graph.output}
    new_names: dict[str, str] = {}
    graph.name = "digits"
    # The shapes of values in between go by the old names, and follow from the graph.
    graph.ClearField("value_info")
    for node in graph.node:
        node.name = node.name.split("/")[1]
        node.ClearField("doc_string")
        (output,) = node.output
        new_names[output] = output if output in outputs else node.name
        node.output[:] = [new_names[output]]
        node.input[:] = [new_names.get(value, value) for value in node.input]


def main() -> None:
    """Trains, measures the accuracy on the held-back images, and writes the model."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    # The order of float additions, and so the trained weights, depend on the number of threads.
    torch.set_num_threads(1)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, split())
    model = network()
    train(model, train_images, train_labels)
    MODEL.write_bytes(export(model).SerializeToString(deterministic=True))
    print(f"trained on {len(train_labels)} images, tested on {len(test_labels)}")
    print(f"test accuracy: {accuracy(model, test_images, test_labels):.4f}")
    print(f"wrote {MODEL.name}: {MODEL.stat().st_size} bytes")


if __name__ == "__main__":
    main()
