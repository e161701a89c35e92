"""A server with OpenAI's interface, and a page to chat with.

`app.py` has the addresses, `worker.py` the thread that owns the engine. Requests that may be hostile are read in
`reading.py`, `bodies.py` and `attachments.py`.
"""
