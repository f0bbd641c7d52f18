"""Events of ours on the Prefect server, on which automations act."""

from collections.abc import Mapping

from flows.patience import await_server

DRIFT, PROMOTION = "millrace.drift", "millrace.promotion"
RESOURCE = "millrace.model."
"""What an event is about: RESOURCE and the model's name."""


def tell(event: str, model: str, payload: Mapping[str, str]) -> None:
    """Send an event about a model."""
    from prefect.events import emit_event

    await_server()
    resource = {"prefect.resource.id": f"{RESOURCE}{model}", "prefect.resource.name": model}
    emit_event(event, resource=resource, payload={"model": model, **payload})
