"""Talks with the model: one turn of the person becomes text and tool calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
from langchain.agents import create_agent
from langchain.agents.middleware.types import InputAgentState
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError
from pydantic import SecretStr

from assistant.agent.endpoint_errors import wrap_endpoint_error
from assistant.agent.tools import tools_of
from pipelines.errors import AssistantError
from pipelines.lazy import silence_libraries
from pipelines.operation import Context, Operation
from pipelines.settings import Endpoint
from prompts import load_prompt

# Steps of the graph in one turn: each model call and each round of tools is one. The
# library's own limit, 9,999, would let a small model go in circles for hours.
_STEPS = 40
_TIMEOUT_S = 600.0
_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Said:
    """The next piece of the agent's own words."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ToolUsed:
    """The agent calls a tool."""

    id: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class ToolReturned:
    """What the tool returned."""

    id: str
    name: str
    result: str


AgentEvent = Said | ToolUsed | ToolReturned


class TurnError(AssistantError):
    """The model did not come to an answer."""


class Agent:
    """A conversation with a model that has the operations as tools."""

    def __init__(
        self,
        endpoint: Endpoint,
        operations: Iterable[Operation[Any, Any]],
        context: Context,
        *,
        stop: threading.Event,
    ) -> None:
        silence_libraries()
        self._endpoint = endpoint
        self._context = context
        self._stop = stop
        self._history: list[AnyMessage] = []
        self._tools = tools_of(operations, context)
        self._model = ChatOpenAI(
            model=endpoint.model,
            base_url=endpoint.url,
            # Without a key of its own the client would look for one in the environment.
            api_key=SecretStr(endpoint.key.get_secret_value() or "none"),
            organization="",
            temperature=load_prompt("agent").defaults["temperature"],
            timeout=_TIMEOUT_S,
            max_retries=_RETRIES,
            use_responses_api=False,
        )

    def turn(self, text: str) -> Iterator[AgentEvent]:
        """Let the agent work on what the person said; a stopped turn leaves no trace in it.

        Raises:
            LLMError: The endpoint cannot be used.
            TurnError: The model went in circles.
        """
        graph = create_agent(self._model, self._tools, system_prompt=self._instructions())
        messages: list[AnyMessage] = [*self._history, HumanMessage(text)]
        parts = graph.stream(
            InputAgentState(messages=[*messages]),
            RunnableConfig(recursion_limit=_STEPS),
            stream_mode=["messages", "updates"],
            version="v2",
        )
        try:
            for part in parts:
                if self._stop.is_set():
                    return
                if part["type"] == "messages":
                    chunk = part["data"][0]
                    if isinstance(chunk, AIMessageChunk) and chunk.text:
                        yield Said(text=chunk.text)
                elif part["type"] == "updates":
                    for update in part["data"].values():
                        added = (update or {}).get("messages", [])
                        messages += added
                        yield from _events(added)
        except GraphRecursionError as error:
            raise TurnError(
                f"{self._endpoint.model} used its tools {_STEPS // 2} times and came to no answer",
                hint="Ask for one step at a time, or choose a stronger model.",
            ) from error
        except (openai.OpenAIError, ValueError) as error:  # langchain's ValueError: no events in the answer
            raise wrap_endpoint_error(error, self._endpoint, timeout_s=_TIMEOUT_S, retries=_RETRIES) from error
        if not _came_to_something(messages[len(self._history) + 1 :]):
            raise TurnError(
                f"{self._endpoint.model} said nothing, or called a tool in a form that cannot be read",
                hint="Ask again in other words, or choose a stronger model.",
            )
        self._history = messages

    def _instructions(self) -> str:
        workspace = self._context.workspace
        [(_role, text)] = load_prompt("agent").render(
            documents=str(workspace.documents),
            collections=workspace.names("knowledge"),
            datasets=workspace.names("datasets"),
            adapters=workspace.names("adapters"),
            bots=workspace.names("bots"),
        )
        return text


def _came_to_something(messages: Iterable[AnyMessage]) -> bool:
    """Whether the model said anything, or called a tool in a form that can be read."""
    return any(isinstance(message, AIMessage) and (message.text or message.tool_calls) for message in messages)


def _events(messages: Iterable[AnyMessage]) -> Iterator[AgentEvent]:
    for message in messages:
        if isinstance(message, AIMessage):
            for call in message.tool_calls:
                yield ToolUsed(id=call["id"] or "", name=call["name"], arguments=call["args"])
        elif isinstance(message, ToolMessage):
            yield ToolReturned(id=message.tool_call_id, name=message.name or "", result=str(message.content))
