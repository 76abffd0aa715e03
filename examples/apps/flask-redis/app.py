"""A page that counts how often it was seen, in a Redis that it knows by name."""

from __future__ import annotations

import redis
from flask import Flask
from redis.backoff import ConstantBackoff
from redis.retry import Retry

app = Flask(__name__)
counter = redis.Redis(
    host="redis", retry=Retry(ConstantBackoff(0.5), 20), retry_on_error=[redis.exceptions.ConnectionError]
)


@app.get("/")
def page() -> str:
    """Count this visit, too."""
    return f"visit {counter.incr('visits')}\n"
