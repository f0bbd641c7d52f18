"""What Prefect does by itself: train again on drift, and tell the operator of failures, drift and promotions.

They are made anew by every `deploy`. Who is told stands in a block on the server, which the operator makes there and
names in MILLRACE_NOTIFY; no parameter of a run can name an address.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from flows.told import DRIFT, PROMOTION, RESOURCE

RETRAINS = "retraining/any-retraining"
OURS = "millrace: "
"""What the names of these automations begin with; others are left alone."""
FAILED = frozenset({"prefect.flow-run.Failed", "prefect.flow-run.Crashed"})


def automate(placement: Placement) -> list[str]:
    """Make the automations of this placement, and remove those of before; their names.

    Raises:
        ConfigError: E_CONFIG, there is no such block of notifications.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        wanted = list(_wanted(client, placement))
        for one in client.read_automations():
            if one.name.startswith(OURS):
                client.delete_automation(one.id)
        for made in wanted:
            client.create_automation(made)
    return [one.name for one in wanted]


def _wanted(client: Any, placement: Placement) -> Iterator[Any]:
    from prefect.events.actions import RunDeployment

    model = {"prefect.resource.id": f"{RESOURCE}*"}
    parameters = {name: _of_event(name) for name in ("model", "reason", "why")}
    deployment = client.read_deployment_by_name(RETRAINS).id
    retrain = RunDeployment(source="selected", deployment_id=deployment, parameters=parameters)
    yield _automation("retrain on drift", "Trains a model again that monitoring says drifted.", {DRIFT}, model, retrain)
    if placement.notify:
        block = _block(client, placement.notify)
        run = {"prefect.resource.id": "prefect.flow-run.*"}
        for name, events, about, subject in (
            ("tell of failures", FAILED, run, "A run ended badly: {{ flow_run.name }}"),
            ("tell of drift", {DRIFT}, model, "{{ event.payload.model }} has drifted"),
            ("tell of promotions", {PROMOTION}, model, "{{ event.payload.model }} has a new champion"),
        ):
            body = "{{ flow_run.state.message }}" if events is FAILED else "{{ event.payload.why }}"
            yield _automation(name, f"By {placement.notify}.", events, about, _note(block, subject, body))


def _automation(name: str, said: str, events: Any, about: dict[str, str], action: Any) -> Any:
    from prefect.events import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    trigger = EventTrigger(
        expect=set(events),
        match=ResourceSpecification.model_validate(about),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    return AutomationCore(name=OURS + name, description=said, trigger=trigger, actions=[action])


def _note(block: Any, subject: str, body: str) -> Any:
    from prefect.events.actions import SendNotification

    return SendNotification(block_document_id=block, subject=f"Millrace: {subject}", body=body)


def _of_event(name: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ event.payload.{name} }}}}"}


def _block(client: Any, name: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    kind, _, called = name.partition("/")
    try:
        return client.read_block_document_by_name(called, kind).id
    except ObjectNotFound as error:
        raise ConfigError(
            "E_CONFIG",
            "there is no such block on the Prefect server",
            place="MILLRACE_NOTIFY",
            value=name,
            allowed="TYPE/NAME of a notification block, such as slack-webhook/operators",
            action="make it on Prefect's page Blocks, or unset the variable",
        ) from error
