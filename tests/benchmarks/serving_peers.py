"""What a person writes to serve one network by FastAPI and ONNX Runtime: `serving_peers.py FOLDER PORT`."""

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


if __name__ == "__main__":
    bare(Path(sys.argv[1]), int(sys.argv[2]))
