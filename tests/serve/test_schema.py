"""B48 by machines: requests made from the OpenAPI document, and requests that are broken at random."""

import json
import random
import resource
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.serve.conftest import QUIET, row, serving

TRIES, CASES = 3000, 60
WHOLE = {None, "application/json"}
GROWTH = 64
"""MB that the process may have grown by after them."""
ALLOWED = {200, 400, 404, 405, 408, 413, 415, 422, 429}


def strategies(document):
    """Of every route, cases that are as the document says, and cases that are not."""
    for found in document.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            if mode is GenerationMode.POSITIVE or operation.method == "post":
                yield f"{operation.label} {mode.value}", operation.as_strategy(generation_mode=mode)


def asked(strategy):
    """The codes of answers to its cases, each of which is as the document says."""
    codes = []

    @settings(max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(case=strategy)
    def ask(case):
        # What a CSV file or a form may be is more than the document's language can say.
        left_out = [negative_data_rejection, *([] if case.media_type in WHOLE else [positive_data_acceptance])]
        codes.append(case.call_and_validate(excluded_checks=left_out).status_code)

    ask()
    return codes


@pytest.mark.bad_input
def test_bad_input_B48_what_the_document_allows_is_answered_and_nothing_ends_in_a_500(line):
    """Status, type and content of every answer are as the document says, to right and to wrong bodies."""
    with serving([line.host("toy")]) as client:
        document = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        counts = {label: Counter(asked(strategy)) for label, strategy in strategies(document)}
    print("B48 by the document:", {label: dict(codes) for label, codes in counts.items()})
    posted = {code for label, codes in counts.items() if "POST" in label for code in codes}
    assert {200, 400} <= posted <= ALLOWED


def broken(draw, body):
    """A body with a few of its bytes or parts changed, twice, or gone."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(body) + 1)
        end = min(len(body), at + draw.randint(0, 12))
        piece = draw.choice([
            b"", bytes([draw.randrange(256)]), body[at:end] * 2, b"null", b"-1e999", b"{}", b"[]", b'"', b"\\u0000", b"NaN",
            b"9" * 30, b'"\xff"', b"true", b"[[[[", b"0.1", json.dumps("\U0001f600").encode(), b",", b":", b"\r\n",
        ])  # fmt: skip
        body = body[:at] + piece + body[end:]
    return body


BODIES = (
    ("application/json", json.dumps(row(n=2.5)).encode()),
    ("application/json", b'{"dataframe_split": {"columns": ["n", "c"], "data": [[1.5, "a"], [2, null]]}}'),
    ("application/json", b'{"inputs": {"n": [1.5, 2], "c": ["a", null]}}'),
    ("text/csv", b"n,c\n1.5,a\n2,\n"),
    ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="n"\r\n\r\n1.5\r\n--x--\r\n'),
)


@pytest.mark.bad_input
def test_bad_input_B48_a_body_broken_at_random_is_answered_and_costs_no_memory(line):
    """3,000 of them; each is answered as a mistake of the client's or as a request, in one line."""
    draw, seen = random.Random(0), {}
    with serving([line.host("toy")], QUIET) as client:
        for number in range(TRIES):
            if number == TRIES // 10:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            kind, body = draw.choice(BODIES)
            path = draw.choice(["/invocations"] * 9 + ["/explain"])
            answer = client.post(path, content=broken(draw, body), headers={"content-type": kind})
            assert answer.status_code in ALLOWED, (body, answer.text)
            assert len(answer.content) < 3000
            if answer.status_code != 200:
                assert answer.json().keys() == {"error_code", "message", "request_id"}
                assert "\n" not in answer.json()["message"]
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert client.post("/invocations", json=row()).status_code == 200
    print(f"B48 fuzzed: {TRIES} requests, {seen}")
    assert min(seen.get(200, 0), seen.get(400, 0)) > TRIES / 50
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH
