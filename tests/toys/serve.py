"""A toy standing in for vLLM: the same command line, addresses, log lines and bad habits, and no model.

It is started as `python serve.py [SWITCHES] serve MODEL --host H --port P --served-model-name …`; switches may also stand in TOY_SERVE,
or in a file `toy.args` in the folder MODEL. It answers with the words of the last message, again and again, one word per token, and
tells what it has seen at `GET /toy`. Standard library only; other flags of vLLM are taken and forgotten.
"""

import argparse
import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

FAILURES = {
    "memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has a total capacity of 23.53 GiB",
    "port": "OSError: [Errno 98] Address already in use",
    "model": "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/nope'.",
    "architecture": "ValueError: Model architectures ['ToyForCausalLM'] are not supported for now.",
    "engine": "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "unknown": "Segmentation fault",
}
"""The last line that vLLM prints when it cannot start, as it was seen, or as its source has it."""
TOKENS = 16


class Server:
    """All that the toy knows; one event loop, no locks."""

    def __init__(self, asked: argparse.Namespace, key: str | None) -> None:
        self.asked = asked
        self.key = key
        self.engine = subprocess.Popen([sys.executable, "-S", __file__, "child"], env={}) if asked.engine else None
        self.names: list[str] = asked.names + [json.loads(each)["name"] for each in asked.lora_modules]
        self.seen: dict[str, Any] = {"running": 0, "served": 0, "gone": 0, "connections": 0, "tokens": 0, "last": None}
        self.stopping, self.quiet = asyncio.Event(), asyncio.Event()
        self.quiet.set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, request after request."""
        self.seen["connections"] += 1
        try:
            while request := await _request(reader):
                await self.answer(Answer(self, reader, writer, *request))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the toy is stopping
        finally:
            self.seen["connections"] -= 1
            writer.close()

    async def answer(self, answer: "Answer") -> None:
        """Do what an address is for."""
        match answer.method, answer.path:
            case "GET", "/health":
                await answer.send("", status=503 if _exists(self.asked.sick_if) else 200)
            case "GET", "/metrics":
                await answer.send(self.metrics(), kind="text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/toy":
                await answer.send(self.seen)
            case _ if self.key and answer.headers.get("authorization") != f"Bearer {self.key}":
                await answer.send({"error": "Unauthorized"}, status=401)
            case "GET", "/v1/models":
                await answer.send({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "vllm"} for name in self.names]})
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
                await self.complete(answer)
            case _:
                await answer.send({"error": _error("Not Found", "NotFoundError", None, 404)}, status=404)

    async def complete(self, answer: "Answer") -> None:
        """Answer a completion as asked: at once, or word by word."""
        body = json.loads(answer.body)
        self.seen["last"] = {"path": answer.path, "headers": answer.headers, "body": body, "bytes": len(answer.body)}
        if body.get("model") not in self.names:
            message = f"The model `{body.get('model')}` does not exist."
            await answer.send({"error": _error(message, "NotFoundError", "model", 404)}, status=404)
            return
        self.seen["running"] += 1
        self.quiet.clear()
        try:
            while self.asked.wedge or _exists(self.asked.wedge_if):
                await answer.pause(0.05)
            await (
                answer.embed(body) if answer.path == "/v1/embeddings" else answer.stream(body) if body.get("stream") else answer.whole(body)
            )
            self.seen["served"] += 1
        except ConnectionError:
            self.seen["gone"] += 1
            raise
        finally:
            self.seen["running"] -= 1
            if not self.seen["running"]:
                self.quiet.set()

    def metrics(self) -> str:
        """Return the figures that vLLM gives under the same names."""
        labels = f'{{engine="0",model_name="{self.names[0]}"}}'
        figures = {
            "num_requests_running": self.seen["running"],
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": min(1, self.seen["running"] / 100),
            "prompt_tokens_total": self.seen["served"],
            "generation_tokens_total": self.seen["tokens"],
        }
        return "".join(f"# TYPE vllm:{name} gauge\nvllm:{name}{labels} {float(value)}\n" for name, value in figures.items())


class Answer:
    """One request and the way back."""

    def __init__(
        self,
        server: Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        self.server, self.asked = server, server.asked
        self.reader, self.writer = reader, writer
        self.method, self.path, self.headers, self.body = method, path, headers, body

    async def send(self, content: Any, *, status: int = 200, kind: str = "application/json") -> None:
        """Send an answer of known length."""
        told = content.encode() if isinstance(content, str) else json.dumps(content, ensure_ascii=False).encode()
        self.head(status, kind, f"Content-Length: {len(told)}")
        self.writer.write(told)
        await self.writer.drain()
        _say(f'INFO:     127.0.0.1:0 - "{self.method} {self.path} HTTP/1.1" {status}')

    async def pause(self, seconds: float) -> None:
        """Wait; a client that has left is noticed, as vLLM notices it."""
        await asyncio.sleep(seconds)
        if self.reader.at_eof() or self.writer.is_closing():
            raise ConnectionResetError

    async def whole(self, body: dict[str, Any]) -> None:
        """Answer with all words at once."""
        words = [word async for word in self.words(body)]
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
        await self.send(self.part(body, "".join(words), "length", whole=True) | {"usage": usage})

    async def stream(self, body: dict[str, Any]) -> None:
        """Answer word by word, each an event of its own in a chunk of its own."""
        self.head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked")
        number = 0
        async for word in self.words(body):
            await self.chunk(b"data: " + json.dumps(self.part(body, word, None), ensure_ascii=False).encode() + b"\n\n")
            number += 1
            if number == self.asked.break_after:
                self.writer.transport.abort()
                raise ConnectionAbortedError
            if number == self.asked.die_after:
                os._exit(1)
        await self.chunk(b"data: " + json.dumps(self.part(body, "", "length")).encode() + b"\n\n")
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 1, "completion_tokens": number, "total_tokens": 1 + number}
            await self.chunk(b"data: " + json.dumps(self.part(body, "", None) | {"choices": [], "usage": usage}).encode() + b"\n\n")
        await self.chunk(b"data: [DONE]\n\n")
        await self.chunk(b"")
        _say(f'INFO:     127.0.0.1:0 - "{self.method} {self.path} HTTP/1.1" 200')

    async def embed(self, body: dict[str, Any]) -> None:
        """Answer with vectors that are the same for the same text."""
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": at, "embedding": [float(len(str(text))), 0.5, -0.25]} for at, text in enumerate(texts)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        await self.send({"object": "list", "model": body["model"], "data": data, "usage": usage})

    async def words(self, body: dict[str, Any]) -> AsyncIterator[str]:
        """Give the words, at the pace that was asked for."""
        said = body["messages"][-1]["content"] if self.path == "/v1/chat/completions" else str(body.get("prompt", ""))
        words = str(said).split() or ["…"]
        engine = self.server.engine
        for number in range(body.get("max_tokens") or body.get("max_completion_tokens") or TOKENS):
            if engine and engine.poll() is not None:
                self.writer.transport.abort()
                raise ConnectionAbortedError
            if self.asked.pace:
                await self.pause(self.asked.pace)
            self.server.seen["tokens"] += 1
            yield words[number % len(words)] + " "

    def part(self, body: dict[str, Any], text: str, finish: str | None, *, whole: bool = False) -> dict[str, Any]:
        """Return one part of an answer, or all of it, in OpenAI's shape."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self.path == "/v1/completions":
            choice["text"], kind = text, "text_completion"
        elif whole:
            choice["message"], kind = {"role": "assistant", "content": text}, "chat.completion"
        else:
            choice["delta"], kind = {"role": "assistant", "content": text}, "chat.completion.chunk"
        return {"id": "cmpl-toy", "object": kind, "created": int(time.time()), "model": body["model"], "choices": [choice]}

    def head(self, status: int, kind: str, length: str) -> None:
        """Begin the answer."""
        self.writer.write(f"HTTP/1.1 {status} Toy\r\nContent-Type: {kind}\r\n{length}\r\nServer: uvicorn\r\n\r\n".encode())

    async def chunk(self, content: bytes) -> None:
        """Send one chunk of a stream; the empty one ends it."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(content), content))
        await self.writer.drain()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    head = await reader.readline()
    if not head:
        return None
    method, path, _ = head.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return method, path.partition("?")[0], headers, body


def _error(message: str, kind: str, param: str | None, code: int) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _exists(file: str) -> bool:
    return bool(file) and Path(file).exists()


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def _live(asked: argparse.Namespace) -> None:
    server = Server(asked, os.environ.get("VLLM_API_KEY"))
    await asyncio.sleep(asked.slow_start)
    if asked.fail:
        _say("Traceback (most recent call last):")
        _say(FAILURES[asked.fail])
        sys.exit(1)
    loop = asyncio.get_running_loop()
    if not asked.ignore_term:
        loop.add_signal_handler(signal.SIGTERM, server.stopping.set)
    listening = await asyncio.start_server(server.meet, asked.host, asked.port)
    _say(f"(APIServer pid={os.getpid()}) INFO 11-20 21:32:20 [entry.py:140] Starting vLLM server on http://{asked.host}:{asked.port}")
    _say("INFO:     Application startup complete.")
    await server.stopping.wait()
    _say(f"(APIServer pid={os.getpid()}) INFO 11-20 21:33:18 [launcher.py:254] [shutdown] API server: shutdown triggered")
    listening.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(server.quiet.wait(), asked.shutdown_timeout)
    if server.engine:
        server.engine.kill()


def _asked(words: list[str]) -> argparse.Namespace:
    at = words.index("serve")
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--slow-start", type=float, default=0, help="seconds until it listens")
    parser.add_argument("--fail", choices=FAILURES, help="print why, and end with 1 instead of listening")
    parser.add_argument("--wedge", action="store_true", help="healthy, but completions never come")
    parser.add_argument("--wedge-if", default="", help="likewise, while this file exists")
    parser.add_argument("--sick-if", default="", help="/health answers 503 while this file exists")
    parser.add_argument("--ignore-term", action="store_true", help="and so do its children")
    parser.add_argument("--children", type=int, default=0, help="children, each in a session of its own, that outlive it")
    parser.add_argument("--engine", action="store_true", help="a child of its group and without its environment; answers need it")
    parser.add_argument("--shared-memory", action="store_true", help="leave /dev/shm/psm_… behind unless it ends by itself")
    parser.add_argument("--break-after", type=int, default=0, help="break the connection off after so many words of a stream")
    parser.add_argument("--die-after", type=int, default=0, help="die after so many words of a stream")
    parser.add_argument("--pace", type=float, default=0, help="seconds between words")
    switches, model = parser.parse_args(words[:at]), words[at + 1]
    file = Path(model, "toy.args")
    parser.parse_args(shlex.split(os.environ.get("TOY_SERVE", "")), switches)
    parser.parse_args(shlex.split(file.read_text()) if file.is_file() else [], switches)
    vllm = argparse.ArgumentParser(allow_abbrev=False)
    vllm.add_argument("--host", default="127.0.0.1")
    vllm.add_argument("--port", type=int, default=8000)
    vllm.add_argument("--served-model-name", dest="names", nargs="+", default=[model])
    vllm.add_argument("--lora-modules", nargs="+", default=[])
    vllm.add_argument("--shutdown-timeout", type=float, default=0)
    vllm.parse_known_args(words[at + 2 :], switches)
    return switches


def main() -> None:
    """Serve until it is told to stop."""
    if sys.argv[1:2] == ["child"]:
        if "ignore" in sys.argv:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    asked = _asked(sys.argv[1:])
    if asked.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(asked.children):
        child = [sys.executable, "-S", __file__, "child", *(["ignore"] if asked.ignore_term else [])]
        subprocess.Popen(child, start_new_session=True, close_fds=True)
    left = Path(f"/dev/shm/psm_{os.getpid():08x}")  # noqa: S108 - where vLLM leaves its own
    if asked.shared_memory:
        left.write_bytes(b"toy")
    with left.open("rb") if asked.shared_memory else nullcontext():  # as one that has it mapped
        asyncio.run(_live(asked))
    left.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
