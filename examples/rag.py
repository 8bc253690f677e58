"""Answers from documents, whose embeddings and answers are recorded: the second run asks the provider for nothing.

pip install langchain langchain-openai
OPENAI_API_KEY=... python examples/rag.py "When will my parcel arrive?"
"""

import sys

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from langchain_chatcache import DOCache, cached

DOCUMENTS = [
    "A parcel arrives on the third working day after it left the depot.",
    "An order can be changed until it is packed, on the page of the order.",
    "Money is paid back to the card that was used, within a week.",
]

embeddings = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)

with DOCache("rag") as cache:
    store = InMemoryVectorStore(cached(embeddings, cache))
    store.add_texts(DOCUMENTS)
    question = sys.argv[1]
    (found,) = store.similarity_search(question, k=1)
    model = cached(ChatOpenAI(model="gpt-4o-mini"), cache)
    print(model.invoke(f"{question} Answer from this alone: {found.page_content}").text)
