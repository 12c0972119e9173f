"""What aiohttp with orjson reaches at the task: nothing is stored, tried again or counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import orjson

from benchmarks.peers.task import MODEL, Pair, Task, run_task


def prepare(task: Task) -> Callable[[], int]:
    """Make the bodies."""
    form = {"type": "json_schema", "json_schema": {"name": "Pair", "schema": Pair.model_json_schema()}}
    asked: list[dict[str, Any]] = [
        {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
        | ({"response_format": form} if task.structured else {})
        for prompt in task.prompts()
    ]
    return lambda: asyncio.run(_send_all(task, asked))


async def _send_all(task: Task, asked: list[dict[str, Any]]) -> int:
    waiting = iter(asked)
    connector = aiohttp.TCPConnector(limit=task.concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        kept = await asyncio.gather(*(_send_some(task, waiting, session) for _ in range(task.concurrency)))
    return sum(kept)


async def _send_some(task: Task, waiting: Iterator[dict[str, Any]], session: aiohttp.ClientSession) -> int:
    kept = 0
    for body in waiting:
        headers = {"content-type": "application/json"}
        async with session.post(f"{task.url}/chat/completions", data=orjson.dumps(body), headers=headers) as answer:
            content = orjson.loads(await answer.read())["choices"][0]["message"]["content"]
        if task.structured:
            Pair.model_validate_json(content)
        kept += 1
    return kept


if __name__ == "__main__":
    run_task(prepare)
