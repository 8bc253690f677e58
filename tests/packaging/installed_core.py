"""What ``pip install chatcache`` gives, as JSON on standard output. Run in build/venvs/core."""

import json
import sys
from importlib.util import find_spec
from tempfile import TemporaryDirectory

import chatcache

FRAMEWORKS = ("litellm", "langchain_core", "litellm_chatcache", "langchain_chatcache")

value = {"answer": "42", "tokens": [1, 2]}
with TemporaryDirectory() as folder:
    tenant = chatcache.ObjectNamespace(folder).get_by_name("tenant/42")
    tenant.storage.put("question", value)
    tenant.close()
    read = chatcache.ObjectNamespace(folder).get_by_name("tenant/42").storage.get("question")

facts = {
    "from": chatcache.__file__,
    "importable": [name for name in FRAMEWORKS if find_spec(name)],
    "imported": [name for name in FRAMEWORKS if name in sys.modules],
    "read": read,
    "put": value,
}
json.dump(facts, sys.stdout)
