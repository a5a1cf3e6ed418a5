"""Trains the network of `nuclei-host bench` in PyTorch and prints its speed, for comparison.

    nuclei-host bench --json | python3 benches/torch_training.py

Needs torch (PyPI). The same layers, loss, optimiser, batch and crop; steps of both are timed by their median.
"""

import json
import re
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def conv_norm(channels_in, channels_out, kernel):
    stride, padding = (2, 0) if kernel == 2 else (1, 1)
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def stage(channels_in, channels_out, convolutions):
    layers = [conv_norm(channels_in if i == 0 else channels_out, channels_out, 3) for i in range(convolutions)]
    return nn.Sequential(*layers)


def up(channels_in, channels_out):
    convolution = nn.ConvTranspose2d(channels_in, channels_out, 2, 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class Unet(nn.Module):
    """Either form: half resolution or full, skips added or stacked."""

    def __init__(self, width, depth, half, added, decoder_convolutions, outputs=3):
        super().__init__()
        channels = [width << level for level in range(depth)]
        self.added = added
        self.stem = conv_norm(3, width, 2) if half else None
        first = width if half else 3
        self.encoder = nn.ModuleList(
            stage(channels[level - 1] if level else first, channels[level], 2) for level in range(depth)
        )
        downwards = range(depth - 2, -1, -1)
        self.ups = nn.ModuleList(up(channels[level + 1], channels[level]) for level in downwards)
        self.decoder = nn.ModuleList(
            stage(channels[level] * (1 if added else 2), channels[level], decoder_convolutions)
            for level in downwards
        )
        self.head = nn.ConvTranspose2d(width, outputs, 2, 2) if half else nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        if self.stem is not None:
            x = self.stem(x)
        skips = []
        for level, layers in enumerate(self.encoder):
            if level > 0:
                skips.append(x)
                x = functional.max_pool2d(x, 2)
            x = layers(x)
        for grow, layers in zip(self.ups, self.decoder):
            x, skip = grow(x), skips.pop()
            x = layers(x + skip if self.added else torch.cat([x, skip], 1))
        return self.head(x)


def loss_of(logits, truth):
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    p, t = torch.sigmoid(logits[:, :2]), truth[:, :2]
    dice = (2 * (p * t).sum((0, 2, 3)) + 1) / (p.sum((0, 2, 3)) + t.sum((0, 2, 3)) + 1)
    return (entropy + 1 - dice.mean()) / 2


def main():
    ours = json.load(sys.stdin)
    form = r"U-Net width (\d+) depth (\d+), (\w+) resolution, (\w+) skips, (\d) convolutions per decoder level"
    found = re.fullmatch(form, ours["architecture"])
    if found is None:
        sys.exit(f"no twin of this network here: {ours['architecture']}; bench a plain encoder")
    width, depth, resolution, skips, convolutions = found.groups()
    device = "cuda" if ours["backend"] == "CUDA" else "cpu"
    batch, crop, steps = ours["batch"], ours["crop"], ours["steps"]
    network = Unet(int(width), int(depth), resolution == "half", skips == "added", int(convolutions)).to(device)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    picture, truth = torch.rand(batch, 3, crop, crop), torch.rand(batch, 3, crop, crop).round()
    table = {"ours": ours["crops_per_s"]}
    rows = [
        ("PyTorch", torch.contiguous_format, False),
        ("PyTorch, channels last", torch.channels_last, False),
        ("PyTorch, channels last, BF16", torch.channels_last, True),
    ]
    for name, layout, bf16 in rows:
        network.to(memory_format=layout)
        x, t = (tensor.to(device, memory_format=layout) for tensor in (picture, truth))
        times = []
        for _ in range(steps + 1):
            start = time.perf_counter()
            optimiser.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = network(x)
            loss = loss_of(logits.float(), t)
            loss.backward()
            optimiser.step()
            loss.item()
            times.append(time.perf_counter() - start)
        table[name] = batch / sorted(times[1:])[steps // 2]
    for name, speed in table.items():
        print(f"{name:30} {speed:7.1f} crops/s  ours / this: {ours['crops_per_s'] / speed:.2f}")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
