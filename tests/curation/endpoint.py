"""An OpenAI-compatible server for tests: `python endpoint.py` prints its port and answers as the document tells it to.

A document says `behaviour: NAME` somewhere in its text; without, it gets a good answer. What is good depends on the
prompt: a score, question-answer pairs, or the document itself as rewritten text. GET /log lists the documents asked
about, in order, and the keys they came with; POST /settings changes what holds for all requests:

    good_after   requests that are answered 503 before the first good one
    dies_after   answers after which the process is gone
    delay        seconds before each answer
    status       status of every answer, if not 200
"""

import asyncio
import os
import re
import socket

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

app = FastAPI()
settings: dict[str, float] = {}
log: list[dict] = []
seen: dict[str, int] = {}
GOOD_PAIRS = """**Question 1:** What is 2 + 3?
Solution: Add 3 to 2. That is 5.
Answer: 5

Question: What is 7 - 4 in 2 steps?
Solution: 7 - 2 = 5
and 5 - 2 is wrong, so 7 - 4 = 3.
Answer: 3"""
LOOP = "so we add one and one and one again and " * 40


@app.get("/log")
def asked() -> list[dict]:
    return log


@app.post("/settings")
async def change(request: Request) -> None:
    settings.clear()
    settings.update(await request.json())
    log.clear()
    seen.clear()


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    prompt = body["messages"][0]["content"]
    document = prompt.rpartition("page:\n\n")[2]
    name = found[1] if (found := re.search(r"behaviour: (\w+)", document)) else "good"
    answered = len(log)
    log.append({"document": document, "behaviour": name, "key": request.headers.get("authorization")}
               | {key: body.get(key) for key in ("model", "temperature", "max_tokens", "seed")})  # fmt: skip
    seen[document] = seen.get(document, 0) + 1
    if answered >= settings.get("dies_after", float("inf")):
        os._exit(1)
    await asyncio.sleep(settings.get("delay", 0))
    if "status" in settings:
        return JSONResponse({"error": f"refused with {request.headers.get('authorization')}"}, int(settings["status"]))
    return behave(name, prompt, document, seen[document])


def behave(name: str, prompt: str, document: str, times: int) -> Response:
    match name:
        case "busy" if times == 1:
            return JSONResponse({"error": "slow down"}, 429, {"Retry-After": "0"})
        case "broken_once" if times == 1:
            return JSONResponse({"error": "internal"}, 500)
        case "malformed_once" if times == 1:
            return Response("<html>502 from a proxy</html>", 200)
        case "broken":
            return JSONResponse({"error": "internal"}, 500)
        case "malformed":
            return Response('{"choices": [', 200)
        case "listed":
            return completion([{"type": "text", "text": "parts"}])
        case "too_much":
            return JSONResponse({"error": "maximum context length exceeded"}, 400)
        case "null":
            return completion(None)
        case "refusal":
            return completion("I'm sorry, but I cannot help with that.")
        case "truncated":
            return completion(good(prompt, document), "length")
        case "loop":
            return completion(LOOP if "Question:" not in prompt else f"Question: why?\nSolution: {LOOP}")
        case "short":
            return completion("A sum is a sum.")
        case "long":
            return completion(document + "".join(f" and more{n} of it" for n in range(200)))
        case "no_numbers":
            return completion(re.sub(r"(?<![\w^])\d+", "some", document))
        case "no_formulae":
            return completion(re.sub(r"\$[^$]*\$", "it", document) + " 17 18 19")
        case "no_pairs":
            return completion("[NO QA]")
        case "chatty":
            return completion(f"Here is the rewritten text:\n\n{document}")
        case "thinking":
            return completion(f"<think>Final score: 1</think>{good(prompt, document)}")
        case "vague":
            return completion("Final score: 4.5")
        case "high":
            return completion("Final score: 6")
    return completion(good(prompt, document))


def good(prompt: str, document: str) -> str:
    if "Final score" in prompt:
        return f"It teaches.\n\n**Final score: {5 if 'theorem' in document else 1}**"
    return GOOD_PAIRS if "Question:" in prompt else document


def completion(text: object, reason: str = "stop") -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": usage})


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # who connects before uvicorn is up, waits
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listener])
