"""What the server of training processes imports before it forks any; it touches no GPU and starts no thread."""

import components.train.worker  # noqa: F401
