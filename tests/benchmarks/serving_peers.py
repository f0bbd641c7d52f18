"""What a person writes to serve one network: FastAPI with ONNX Runtime, or LitServe; run in an environment of theirs.

`serving_peers.py bare|litserve FOLDER PORT [ROWS TOGETHER]`
"""

import sys
from pathlib import Path

import numpy as np

CLASSES = 10


def told(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    shares = raised / raised.sum(1, keepdims=True)
    rows = zip(shares.argmax(1).tolist(), shares.max(1).tolist(), shares.tolist(), strict=True)
    return [{"prediction": at, "confidence": sure, "probabilities": all_} for at, sure, all_ in rows]


def bare(folder, port):
    import onnxruntime
    import uvicorn
    from fastapi import FastAPI, Request

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    app = FastAPI()

    @app.post("/invocations")
    async def invocations(request: Request):
        said = await request.json()
        rows = np.array(said["dataframe_split"]["data"], np.float32)
        (logits,) = session.run(None, {"numbers": rows})
        return {"predictions": told(logits)}

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def litserve(folder, port, together):
    import litserve
    import torch

    weights = torch.load(folder / "net.pt", weights_only=True)

    class Api(litserve.LitAPI):
        def setup(self, device):
            torch.set_num_threads(1)
            layers = []
            for weight, bias in weights:
                layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
                layers[-2].load_state_dict({"weight": weight, "bias": bias})
            self.net = torch.nn.Sequential(*layers[:-1]).eval()

        def decode_request(self, request):
            return torch.tensor(request["dataframe_split"]["data"])

        def predict(self, rows):
            with torch.inference_mode():
                if isinstance(rows, list):
                    return list(self.net(torch.cat(rows)).split(1))
                return self.net(rows)

        def batch(self, inputs):
            return inputs

        def unbatch(self, output):
            return output

        def encode_response(self, output):
            return {"predictions": told(output.numpy())}

    more = {"max_batch_size": together, "batch_timeout": 0.001} if together > 1 else {}
    server = litserve.LitServer(Api(api_path="/invocations", **more), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    kind, folder, port, *more = sys.argv[1:]
    if kind == "bare":
        bare(Path(folder), int(port))
    else:
        litserve(Path(folder), int(port), int(more[0]))
