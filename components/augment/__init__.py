"""Changes of training batches that leave the answer as it is, or mix it: one kind per class, on the batch's device.

All of them draw from a generator whose seed is (seed, epoch, batch, rank), so that training that goes on in the middle
sees what it would have seen. torch is imported where it is used.
"""

KINDS = {
    "affine": "images:Affine",
    "colour": "images:Colour",
    "crop": "images:Crop",
    "cutmix": "mixes:Cutmix",
    "cutout": "images:Cutout",
    "flip": "images:Flip",
    "mask": "sounds:Mask",
    "mixup": "mixes:Mixup",
    "noise": "sounds:Noise",
    "token-dropout": "tokens:TokenDropout",
}
