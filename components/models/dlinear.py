"""DLinear (Zeng et al. 2023): what comes next as a line through the past, apart for its trend and for the rest."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class DLinear(StepConfig):
    """Two linear maps over the steps of a series: of its moving mean, and of what is left."""

    kind: Literal["dlinear"] = "dlinear"
    smooth: int = Field(25, ge=1, description="steps of the moving mean; odd ones lie in the middle")
    shared: bool = Field(
        False, description="one pair of maps for all channels; otherwise all channels tell each number"
    )

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one series, float32[batch, channels, steps], to named outputs.

        Raises:
            ConfigError: E_CONFIG, there is no series; with `shared`, an output has not a row of numbers a channel.
        """
        import torch
        from torch import Tensor, nn

        if len(inputs) != 1 or inputs[0].classes or len(inputs[0].shape) != 2:
            raise ConfigError(
                "E_CONFIG",
                "dlinear reads one series and nothing else",
                place="model.kind",
                value=[one.name for one in inputs],
                allowed="one feature of kind series",
                action="change the features or the model",
            )
        name, (channels, steps) = inputs[0].name, inputs[0].shape
        wrong = next((one.name for one in outputs if self.shared and one.shape[:1] != (channels,)), None)
        if wrong is not None:
            raise ConfigError(
                "E_CONFIG",
                "maps that channels share give as many rows of numbers as there are channels",
                place="model.shared",
                value=wrong,
                allowed=f"a target of {channels} numbers",
                action="set it to false, or name as many columns to predict",
            )
        config = self

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                across = steps if config.shared else channels * steps
                sizes = {one.name: one.size // (channels if config.shared else 1) for one in outputs}
                self.trend = nn.ModuleDict({one: nn.Linear(across, size) for one, size in sizes.items()})
                self.rest = nn.ModuleDict({one: nn.Linear(across, size) for one, size in sizes.items()})

            def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
                series = values[name]
                before = (config.smooth - 1) // 2
                behind = config.smooth - 1 - before
                # The first and the last step stand for what lies beyond them.
                padded = torch.cat([series[..., :1].expand(-1, -1, before), series,
                                    series[..., -1:].expand(-1, -1, behind)], -1)  # fmt: skip
                trend = nn.functional.avg_pool1d(padded, config.smooth, 1)
                pair = (trend, series - trend) if config.shared else (trend.flatten(1), (series - trend).flatten(1))
                return {
                    one.name: (self.trend[one.name](pair[0]) + self.rest[one.name](pair[1])).reshape(-1, *one.shape)
                    for one in outputs
                }

        return Network()
