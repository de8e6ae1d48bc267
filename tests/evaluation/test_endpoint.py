"""The endpoint sampler against a real server that fails in every way a server does."""

import asyncio
import socket
import threading
import time
from collections import Counter

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from evaluation.config import EndpointRecipe
from evaluation.samplers.endpoint_sampler import Endpoint
from evaluation.samplers.sampling import Completion, SamplingParams
from manifests.errors import UserError


class Server:
    """Completes a prompt with itself reversed, after the failures that were planned for it."""

    def __init__(self):
        self.app, self.failures, self.seen = FastAPI(), {}, Counter()
        self.at_once = self.most_at_once = 0
        self.app.post("/v1/completions")(self.complete)

    async def complete(self, request: Request):
        body = await request.json()
        self.seen[body["prompt"]] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)  # long enough for others to come
        try:
            return await self.answer(body, request.headers.get("authorization"))
        finally:
            self.at_once -= 1

    async def answer(self, body, key):
        planned = self.failures.get(body["prompt"], [])
        if len(planned) >= self.seen[body["prompt"]]:
            return planned[self.seen[body["prompt"]] - 1]
        if body["model"] == "secret" and key != "Bearer sesame":
            return JSONResponse({"error": f"wrong key {key}"}, 401)
        text = body["prompt"][::-1] + (str(body["seed"]) if body["temperature"] else "")
        cut = len(text) > body["max_tokens"]
        choice = {"text": text[: body["max_tokens"]], "finish_reason": "length" if cut else "stop"}
        for stop in body.get("stop", ()):
            if stop in text:  # some servers say which string it was, some leave it in the text
                told = {"text": text.split(stop)[0], "stop_reason": stop} if body["model"] == "toy" else {"text": text}
                choice = {"finish_reason": "stop"} | told
        return {"choices": [choice], "usage": {"completion_tokens": len(choice["text"])}}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("evaluation.samplers.completions_client.BACKOFF", 0.01)
    made = Server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(made.app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    made.url = f"http://127.0.0.1:{port}/v1"
    yield made
    running.should_exit = True
    thread.join()


def endpoint(server, **fields):
    return Endpoint(EndpointRecipe(url=server.url, **{"model": "toy", "retries": 3, **fields}))


def asked(sampler, prompts, params=None):
    return dict(sampler.sample(prompts, params or SamplingParams(100), range(len(prompts))))


def test_every_prompt_is_answered_and_many_are_under_way(server):
    prompts = [f"prompt {i}" for i in range(40)]
    found = asked(endpoint(server, concurrency=8), prompts)
    assert {place: group[0].text for place, group in found.items()} == {i: prompts[i][::-1] for i in range(40)}
    assert 1 < server.most_at_once <= 8


def test_samples_have_seeds_of_their_own_that_the_stream_names(server):
    params = SamplingParams(100, temperature=1.0, n=3, seed=5)
    whole = asked(endpoint(server), ["a", "b"], params)
    assert len({one.text for group in whole.values() for one in group}) == 6
    (part,) = dict(endpoint(server).sample(["b"], params, [1])).values()
    assert part == whole[1]


def test_a_cut_answer_is_truncated_and_counted(server):
    assert asked(endpoint(server), ["abcdef"], SamplingParams(3)) == {0: [Completion("fed", 3, True)]}


@pytest.mark.parametrize(
    "failure",
    [
        JSONResponse({"error": "overloaded"}, 500),
        JSONResponse({"error": "slower"}, 429, headers={"retry-after": "0"}),
        PlainTextResponse("<html>gateway"),
        JSONResponse({"choices": []}),
        JSONResponse({"choices": [{"text": None}]}),
    ],
)
def test_what_may_pass_is_tried_again(server, failure):
    server.failures["p"] = [failure, failure]
    assert asked(endpoint(server), ["p"])[0][0].text == "p"
    assert server.seen["p"] == 3


def test_what_does_not_pass_ends_the_run_and_the_rest_is_handed_over(server):
    server.failures["bad"] = [JSONResponse({"error": "out of memory"}, 503)] * 9
    found = {}
    with pytest.raises(UserError, match=r"failed 4 times in a row: status 503: .*out of memory"):
        for place, group in endpoint(server).sample(["good", "bad"], SamplingParams(10), [0, 1]):
            found[place] = group
    assert found == {0: [Completion("doog", 4, False)]}


def test_a_refused_key_ends_at_once_and_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("OCTO_TEST_KEY", "open")
    sampler = endpoint(server, model="secret", key_variable="OCTO_TEST_KEY")
    with pytest.raises(UserError, match=r"status 401: .*wrong key Bearer \*\*\*"):
        asked(sampler, ["p"])
    assert server.seen["p"] == 1
    monkeypatch.setenv("OCTO_TEST_KEY", "sesame")
    assert asked(endpoint(server, model="secret", key_variable="OCTO_TEST_KEY"), ["p"])
    monkeypatch.delenv("OCTO_TEST_KEY")
    with pytest.raises(UserError, match="the variable OCTO_TEST_KEY is not set"):
        endpoint(server, model="secret", key_variable="OCTO_TEST_KEY")


def test_a_dead_server_is_told_in_one_line():
    sampler = Endpoint(EndpointRecipe(url="http://127.0.0.1:9/v1", model="toy", retries=0))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1/completions failed 1 times in a row: ConnectError"):
        asked(sampler, ["p"])


def test_a_reader_that_leaves_ends_the_requests(server):
    server.failures["slow"] = [JSONResponse({}, 429, headers={"retry-after": "50"})] * 9
    reader = endpoint(server).sample(["quick", "slow"], SamplingParams(10), [0, 1])
    assert next(reader)[0] == 0
    start = time.monotonic()
    reader.close()
    assert time.monotonic() - start < 20


def test_an_empty_prompt_is_refused():
    sampler = Endpoint(EndpointRecipe(url="http://127.0.0.1:9/v1", model="toy"))
    assert sampler.refusals(["a", ""]) == ["prompt 1 is empty"]


@pytest.mark.parametrize("model", ["toy", "leaves it in"])
def test_what_stopped_a_response_is_told(server, model):
    params = SamplingParams(100, stop=("\nAnswer:\n",))
    found = asked(endpoint(server, model=model), ["no", "\n:rewsnA\n.5 :rewsnA laniF", "x\n:rewsnA\n.5"], params)
    said = [(one.text, one.stopped_by) for (one,) in (found[place] for place in range(3))]
    assert said == [("on", None), ("Final Answer: 5.", "\nAnswer:\n"), ("5.", "\nAnswer:\n")]
