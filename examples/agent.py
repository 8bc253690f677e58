"""An agent behind FastAPI, which streams its answer word by word; a question that was asked before costs nothing.

pip install fastapi uvicorn langchain langchain-openai
OPENAI_API_KEY=... uvicorn agent:app --app-dir examples
curl -N 'localhost:8000/ask?question=What+is+the+weather+in+Rome'
"""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_openai import ChatOpenAI

from langchain_chatcache import DOCache

set_llm_cache(DOCache("agent"))


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


agent = create_agent(ChatOpenAI(model="gpt-4o-mini"), tools=[get_weather])
app = FastAPI()


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    """Answer a question, word by word."""
    return StreamingResponse(words(question), media_type="text/plain")


async def words(question: str) -> AsyncIterator[str]:
    """Yield the words of the agent, and not those of its tools."""
    asked = HumanMessage(question)
    async for message, _ in agent.astream({"messages": [asked]}, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            yield message.text
