"""The same network in LitServe, run in an environment of its own: `serving_litserve.py FOLDER PORT TOGETHER`.

A module of its own: LitServe hands the class to another process by its name.
"""

import sys
from pathlib import Path

import litserve
import torch

from tests.benchmarks.serving_peers import told

FOLDER, PORT, TOGETHER = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


class Api(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        layers = []
        for weight, bias in torch.load(FOLDER / "net.pt", weights_only=True):
            layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
            layers[-2].load_state_dict({"weight": weight, "bias": bias})
        self.net = torch.nn.Sequential(*layers[:-1]).eval()

    def decode_request(self, request):
        return torch.tensor(request["dataframe_split"]["data"])

    def predict(self, rows):
        with torch.inference_mode():
            return list(self.net(torch.cat(rows)).split(1)) if isinstance(rows, list) else self.net(rows)

    def batch(self, inputs):
        return inputs

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"predictions": told(output.numpy())}


if __name__ == "__main__":
    more = {"max_batch_size": TOGETHER, "batch_timeout": 0.001} if TOGETHER > 1 else {}
    server = litserve.LitServer(Api(api_path="/invocations", **more), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)
