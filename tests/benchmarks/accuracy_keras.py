"""The tutorial's CIFAR-10 network in Keras on TensorFlow, as it is there: `archive seed`. Prints what the other prints."""

import json
import sys
import time

import keras
from keras import layers

from tests.benchmarks.pictures import decoded


def main(archive, seed):
    keras.utils.set_random_seed(int(seed))
    parts = decoded(archive)
    (rows, labels), (held, truth) = parts["train"], parts["test"]
    model = keras.Sequential([
        keras.Input((32, 32, 3)),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10),
    ])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(rows.astype("float32") / 255, labels, epochs=10, batch_size=64, verbose=0)
    took = time.perf_counter() - began
    _, accuracy = model.evaluate(held.astype("float32") / 255, truth, verbose=0)
    print(json.dumps({"training": took, "accuracy": accuracy}))


if __name__ == "__main__":
    main(*sys.argv[1:])
