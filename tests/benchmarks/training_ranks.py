"""One process of a bare data-parallel script: what a person writes for torchrun, over the shards of the benchmark."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from components.adapters.shard_files import open_shard
from tests.benchmarks.training_child import network


def main(folder, batch, epochs, place):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)

    def tensors(name):
        shard = open_shard(f"{folder}/{name}.arrow")
        values = (torch.from_numpy(np.array(shard["image"])).float() - 127.5) / 64
        return TensorDataset(values, torch.from_numpy(np.array(shard["label"])[:, 0]).long())

    train, held = tensors("t"), tensors("v")
    sampler = DistributedSampler(train, ranks, rank, shuffle=True)
    loader = DataLoader(train, batch // ranks, sampler=sampler)
    model = DistributedDataParallel(network("cnn").to(memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    ends = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        model.train()
        for values, labels in loader:
            optimizer.zero_grad()
            cross_entropy(model(values.contiguous(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for values, labels in DataLoader(held, batch):
                found = model.module(values.contiguous(memory_format=torch.channels_last))
                right += int((found.argmax(1) == labels).sum())
        ends.append(time.perf_counter())
    if rank == 0:
        Path(place).write_text(json.dumps({"seconds": ends[-1] - ends[0], "accuracy": right / len(held)}))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
