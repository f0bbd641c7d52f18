"""The tutorial's CIFAR-10 network in raw PyTorch: `archive seed`. Prints seconds of training and the test accuracy.

Pictures are decoded once and stay in memory, already scaled, which is the fastest that such a script gets them.
"""

import json
import sys
import time

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.pictures import decoded
from tests.benchmarks.training_child import network

EPOCHS, BATCH = 10, 64


def main(archive, seed):
    torch.manual_seed(int(seed))
    parts = decoded(archive)
    train, test = (
        TensorDataset(torch.from_numpy(rows).permute(0, 3, 1, 2).contiguous().float() / 255, torch.from_numpy(labels))
        for rows, labels in (parts["train"], parts["test"])
    )
    learner = network("cnn")
    optimizer = torch.optim.Adam(learner.parameters())
    began = time.perf_counter()
    loader = DataLoader(train, BATCH, shuffle=True)
    for _ in range(EPOCHS):
        for rows, labels in loader:
            optimizer.zero_grad()
            cross_entropy(learner(rows), labels).backward()
            optimizer.step()
    took = time.perf_counter() - began
    learner.eval()
    with torch.no_grad():
        right = sum(int((learner(rows).argmax(1) == labels).sum()) for rows, labels in DataLoader(test, 1000))
    print(json.dumps({"training": took, "accuracy": right / len(test)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
